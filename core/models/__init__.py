"""One file a model: functions of parameters and inputs."""
