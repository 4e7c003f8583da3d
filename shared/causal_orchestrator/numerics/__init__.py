"""Array mathematics that several methods use; knows nothing of questions, frames or results."""
