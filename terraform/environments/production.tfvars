environment        = "production"
canary             = true
max_instances      = 40
recovery_days      = 7
retention_days     = 365
budget             = 500
api_idle_instances = 0
