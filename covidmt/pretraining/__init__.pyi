from .train import pretrain as pretrain
