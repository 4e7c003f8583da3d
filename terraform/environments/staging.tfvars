environment        = "staging"
canary             = false
max_instances      = 5
recovery_days      = 0
retention_days     = 30
budget             = 50
api_idle_instances = 0
