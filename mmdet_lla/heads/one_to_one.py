"""A branch that says everybody once, so that nothing is left for NMS to do."""

import copy

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import TASK_UTILS
from mmdet.utils import (
    InstanceList,
    OptConfigType,
    OptInstanceList,
    OptMultiConfig,
    reduce_mean,
)
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..assigners.instances import read_boxes
from ..assigners.views import View, view_for
from .targets import find_positive, label_priors

#: What trains the branch unless ``train_cfg.one_to_one`` says otherwise.
ASSIGNER = dict(type='POTOAssigner')


class OneToOneBranch(BaseModule):
    """Says which of a person's many predictions is the one to keep, learnt from one prior a box.

    The head's own branches, taught by many priors a box, give classes, boxes and IoUs; the score is
    the product of their probability of the class and this branch's, which stands on the box tower,
    as DeFCN's filter branch does (`POTO <https://arxiv.org/abs/2012.03544>`_, section 3.3). The
    loss is that of the product.

    Args:
        num_outs (int): Channels of the scores.
        num_classes (int): Number of classes without the background.
        in_channels (int): Channels of the tower.
        train_cfg (dict, optional): ``assigner``, by default POTOAssigner, and what else a head's
            ``train_cfg`` says of it: ``assigner_view`` and ``ignore``.
        stacked_convs (int): Convolutions of its own. Defaults to 1.
        detach (bool): Whether to keep its gradients from the tower and the head's own scores,
            which then learn as they would without the branch. Defaults to True.
        loss_weight (float): Weight of its loss. Defaults to 1.0.
        conv_cfg, norm_cfg (dict, optional): Of the convolutions. Defaults to None.
        init_cfg (dict | list[dict], optional): The head's initialisation; overrides, which are of
            the head's layers, are left out. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range, or it is not known what the assigner wants
            to be handed.
    """

    def __init__(
        self,
        num_outs: int,
        num_classes: int,
        in_channels: int,
        train_cfg: OptConfigType = None,
        stacked_convs: int = 1,
        detach: bool = True,
        loss_weight: float = 1.0,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(_without_overrides(init_cfg))
        if not isinstance(stacked_convs, int) or stacked_convs < 0:
            raise ValueError(
                f'LLAHead: one_to_one.stacked_convs must be an int >= 0, got {stacked_convs!r}'
            )
        if not 0 < loss_weight < float('inf'):
            raise ValueError(
                f'LLAHead: one_to_one.loss_weight must be finite and > 0, got {loss_weight!r}'
            )
        self.num_classes = num_classes
        self.detach = detach
        self.loss_weight = loss_weight
        self.convs = nn.ModuleList(
            ConvModule(in_channels, in_channels, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
            for _ in range(stacked_convs)
        )
        self.filter = nn.Conv2d(in_channels, num_outs, 3, padding=1)
        self.train_cfg = dict(train_cfg or {})
        self.assigner = TASK_UTILS.build(self.train_cfg.get('assigner', ASSIGNER))
        self.view()

    def view(self) -> View:
        """What the assigner wants to be handed."""
        return view_for(self.assigner, self.train_cfg)

    def forward(self, reg_feat: Tensor, cls_score: Tensor) -> Tensor:
        """Logits of the products.

        Args:
            reg_feat (Tensor): Features of the box tower, (N, in_channels, H, W).
            cls_score (Tensor): The head's class logits, (N, num_outs, H, W).

        Returns:
            Tensor: (N, num_outs, H, W).
        """
        if self.detach:
            reg_feat, cls_score = reg_feat.detach(), cls_score.detach()
        for conv in self.convs:
            reg_feat = conv(reg_feat)
        return logit_of_product(cls_score, self.filter(reg_feat))

    def loss(
        self,
        loss_cls: nn.Module,
        scores: Tensor,
        bboxes: Tensor,
        priors: Tensor,
        level_sizes: list[int],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Tensor:
        """Class loss of a batch, divided by the number of priors that went to a box.

        Args:
            loss_cls (nn.Module): The head's class loss.
            scores (Tensor): Class logits, (N, n, num_classes).
            bboxes (Tensor): The head's decoded boxes ``x1 y1 x2 y2`` in pixels, (N, n, 4).
            priors (Tensor): As the assigner wants them, see :class:`View`.
            level_sizes (list[int]): Priors a level.
            batch_gt_instances, batch_img_metas, batch_gt_instances_ignore: See
                :meth:`LLAHead.loss_by_feat`.

        Raises:
            PictureError: What the assigner says is wrong with a picture.

        Returns:
            Tensor: Scalar.
        """
        gt_inds = (
            self.view()
            .assign_batch(
                self.assigner,
                priors,
                level_sizes,
                bboxes.detach(),
                scores.detach().float(),
                batch_gt_instances,
                batch_gt_instances_ignore,
                batch_img_metas,
            )
            .gt_inds
        )
        boxes = read_boxes(batch_gt_instances, who='LLAHead')
        labels = label_priors(gt_inds, *find_positive(gt_inds, boxes), boxes, self.num_classes)
        divisor = reduce_mean((gt_inds > 0).sum().to(bboxes.dtype)).clamp(min=1)
        weights = (gt_inds >= 0).to(bboxes.dtype).flatten()
        return self.loss_weight * loss_cls(
            scores.flatten(0, 1), labels, weights, avg_factor=divisor
        )


def logit_of_product(first: Tensor, second: Tensor) -> Tensor:
    """Logit of the product of two probabilities, from their logits, of any one shape.

    Without cancellation, however near to 0 or 1: the odds are
    ``1 / (exp(-a) + exp(-b) + exp(-a - b))``.
    """
    # Their sum leaves the range and the resolution of half precision behind.
    first, second = -first.float(), -second.float()
    return -torch.stack([first, second, first + second]).logsumexp(0)


def _without_overrides(init_cfg: OptMultiConfig) -> OptMultiConfig:
    """An initialisation without what it says of single layers."""
    if init_cfg is None or isinstance(init_cfg, list):
        return init_cfg and [_without_overrides(one) for one in init_cfg]
    return {key: copy.deepcopy(value) for key, value in init_cfg.items() if key != 'override'}
