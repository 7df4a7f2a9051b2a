"""One-to-one classification branch: one positive prior per gt, so no NMS is needed."""

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

from ..assigners.inputs import read_gts
from ..assigners.views import View, view_for
from .targets import disable_compile, find_positive, label_priors, naming_images

#: Assigner of the branch, unless ``train_cfg.one_to_one`` has another.
ASSIGNER = dict(type='POTOAssigner')


class OneToOneBranch(BaseModule):
    """Branch that marks which of the many predictions of an object to keep.

    The head's own branches, trained with many priors per gt, predict classes, boxes and IoUs. The
    score is the product of their class probability and this branch's, which is computed from the
    box tower, like DeFCN's filter branch (`POTO <https://arxiv.org/abs/2012.03544>`_, section 3.3).
    The loss is that of the product.

    Args:
        num_outs (int): Channels of the scores.
        num_classes (int): Number of classes without the background.
        in_channels (int): Channels of the tower.
        train_cfg (dict, optional): ``assigner``, by default POTOAssigner, ``assigner_view`` and
            ``ignore``, as in the head's ``train_cfg``.
        stacked_convs (int): Number of its convolutions. Defaults to 1.
        detach (bool): Whether to stop its gradients before the tower and the head's own scores,
            which then train as without the branch. Defaults to True.
        loss_weight (float): Weight of its loss. Defaults to 1.0.
        conv_cfg, norm_cfg (dict, optional): Of the convolutions. Defaults to None.
        init_cfg (dict | list[dict], optional): The head's initialization; its overrides, which
            concern layers of the head, are not used. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range, or the input that the assigner expects is
            unknown.
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

    @disable_compile
    def view(self) -> View:
        """Return the view of the assigner under ``train_cfg``."""
        return view_for(self.assigner, self.train_cfg)

    def forward(self, reg_feat: Tensor, cls_score: Tensor) -> Tensor:
        """Compute the logits of the products.

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
        num_level_priors: list[int],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Tensor:
        """Compute the class loss of a batch, divided by the number of positive priors.

        Args:
            loss_cls (nn.Module): The head's class loss.
            scores (Tensor): Class logits, (N, n, num_classes).
            bboxes (Tensor): The head's decoded boxes ``x1 y1 x2 y2`` in pixels, (N, n, 4).
            priors (Tensor): As the assigner expects them, see :class:`View`.
            num_level_priors (list[int]): Priors per level.
            batch_gt_instances, batch_img_metas, batch_gt_instances_ignore: See
                :meth:`LLAHead.loss_by_feat`.

        Raises:
            ValueError: Errors of the assigner, with the path of the image.

        Returns:
            Tensor: Scalar.
        """
        scores = scores.float()
        labels, weights, num_pos = self._get_targets(
            scores.detach(),
            bboxes.detach(),
            priors,
            num_level_priors,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
        divisor = reduce_mean(num_pos).clamp(min=1)
        return self.loss_weight * loss_cls(
            scores.flatten(0, 1), labels, weights, avg_factor=divisor
        )

    @disable_compile
    def _get_targets(
        self,
        scores: Tensor,
        bboxes: Tensor,
        priors: Tensor,
        num_level_priors: list[int],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels and weights of the priors, (N * n,), and the number of positive ones."""
        with naming_images(batch_img_metas):
            matches = self.view().assign_batch(
                self.assigner,
                priors=priors,
                num_level_priors=num_level_priors,
                bboxes=bboxes,
                logits=scores,
                batch_gt_instances=batch_gt_instances,
                batch_gt_instances_ignore=batch_gt_instances_ignore,
                batch_img_metas=batch_img_metas,
            )
        gt_inds, gts = matches.gt_inds, read_gts('LLAHead', batch_gt_instances)
        labels = label_priors(gt_inds, *find_positive(gt_inds, gts), gts, self.num_classes)
        weights = (gt_inds >= 0).to(bboxes.dtype).flatten()
        return labels, weights, (gt_inds > 0).sum().to(bboxes.dtype)


def logit_of_product(first: Tensor, second: Tensor) -> Tensor:
    """Compute the logit of the product of two probabilities from their logits, of equal shapes.

    Without cancellation, however near to 0 or 1: the odds are
    ``1 / (exp(-a) + exp(-b) + exp(-a - b))``.

    >>> logit_of_product(torch.tensor(0.0), torch.tensor(0.0)).sigmoid().item()
    0.25
    """
    # Half precision has neither the range nor the resolution for their sum.
    first, second = -first.float(), -second.float()
    return -torch.stack([first, second, first + second]).logsumexp(0)


def _without_overrides(init_cfg: OptMultiConfig) -> OptMultiConfig:
    """Remove overrides of single layers from an initialization."""
    if init_cfg is None or isinstance(init_cfg, list):
        return init_cfg and [_without_overrides(one) for one in init_cfg]
    return {key: copy.deepcopy(value) for key, value in init_cfg.items() if key != 'override'}
