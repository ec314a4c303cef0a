"""What is ours behind the front: acceptance, process resources, problem documents."""
