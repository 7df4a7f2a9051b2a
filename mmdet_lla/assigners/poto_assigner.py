"""POTOAssigner: one prior per gt, on full tables of gts x priors."""

from dataclasses import KW_ONLY, dataclass

import torch
from mmdet.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .base import ImageInputs, PredictionAssigner
from .geometry import is_inside, is_near_center, pair_iou
from .inputs import PRIOR_FORMS, SCORE_FORMS, check_settings, is_count

CHOICES = dict(
    one_to_many=(None, 'aux'),
    prior_form=PRIOR_FORMS,
    score_form=SCORE_FORMS,
    matching=('optimal', 'argmax'),
)


@TASK_UTILS.register_module()
@dataclass(eq=False)
class POTOAssigner(PredictionAssigner):
    r"""Prediction-aware one-to-one assignment (`POTO <https://arxiv.org/abs/2012.03544>`_).

    The rule of the released code (Megvii-BaseDetection/DeFCN). The quality of a pair is
    ``score^(1 - alpha) * IoU^alpha``, with the prior's probability of the gt's class and the IoU of
    its prediction and the gt. Candidates are priors inside the gt and, with ``center_radius``, less
    than that many strides from its center in x and y. Every gt gets one prior and no prior is used
    twice, so that the sum of qualities is the largest possible. A detector trained so needs no NMS.

    A gt that has no candidates, or whose candidates all went to others, still gets a prior and is
    trained on it: the unused one of the highest quality, of equal ones the nearest to its center;
    gts choose in their order. (In the released code it is the one that its solver finds first.) If
    there are more gts than priors, some get none. Ignore boxes are unused.

    Args:
        alpha (float): Weight of the IoU in the quality, from 0 to 1. Defaults to 0.8.
        center_radius (float): Largest distance of candidates from the gt's center, in strides; 0:
            any, as the paper has it for crowds (for COCO 1.5). Defaults to 0.
        one_to_many (str, optional): 'aux': use the rule of the auxiliary loss instead, which
            matches several priors to a gt: of a gt's ``aux_topk`` best priors per level, those
            inside it whose quality is at least the mean plus the standard deviation of all of
            them; a prior of several gts goes to the highest quality. Defaults to None.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 2), or (n, 4) with
            strides; 'boxes': anchor boxes (n, 4) of 8 strides, represented by their center;
            'auto': points if (n, 2), anchor boxes if (n, 4). ``center_radius`` needs strides.
            Defaults to 'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'logits'.
        matching (str): 'optimal': see above; 'argmax': every gt takes its best candidate, and of
            gts that take the same one only that of the highest quality gets it, the others none.
            Defaults to 'optimal'.
        aux_topk (int): See ``one_to_many``. Defaults to 9.

    Raises:
        ValueError: If an argument is out of its range.

    >>> POTOAssigner(one_to_many='aux').view.levels
    True
    """

    alpha: float = 0.8
    center_radius: float = 0
    one_to_many: str | None = None
    prior_form: str = 'auto'
    score_form: str = 'logits'
    _: KW_ONLY
    matching: str = 'optimal'
    aux_topk: int = 9

    def __post_init__(self) -> None:
        checks = dict(
            alpha=(0 <= self.alpha <= 1, 'in [0, 1]'),
            center_radius=(0 <= self.center_radius < float('inf'), 'finite and >= 0'),
            aux_topk=(is_count(self.aux_topk), 'an int >= 1'),
        )
        for name, allowed in CHOICES.items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        check_settings(type(self).__name__, checks, vars(self))

    @property
    def needs_strides(self) -> bool:  # type: ignore[override]
        return self.center_radius > 0

    @property
    def needs_levels(self) -> bool:  # type: ignore[override]
        return self.one_to_many is not None

    def match_image(self, image: ImageInputs) -> Tensor:
        """See :meth:`PredictionAssigner.match_image`."""
        num_gts, num_priors = image.gts.size(1), image.preds.size(1)
        gts, points = image.gts.unsqueeze(-1), image.priors.points  # (5, num_gts, 1), (2, n)
        probs = image.scores if self.score_form == 'probs' else image.scores.sigmoid()
        # (num_gts, num_priors)
        quality = probs.T[image.gt_labels].pow(1 - self.alpha)
        quality = quality.mul_(pair_iou(image.preds, gts).pow_(self.alpha))
        inside = is_inside(gts, points, 0.0)
        if self.one_to_many:
            levels = image.num_level_priors
            if levels is None or sum(levels) != num_priors:
                raise ValueError(
                    f"{type(self).__name__}: one_to_many='aux' selects per level, num_level_priors "
                    f'must be the priors per level of all {num_priors}, got {levels}'
                )
            foreground = select_auxiliary(quality, inside, levels, self.aux_topk)
            return keep_highest(torch.where(foreground, quality, -1.0))
        if self.center_radius:
            radius = image.priors.radius(self.center_radius)
            inside &= is_near_center(gts, points, radius)
        quality_of_candidates = torch.where(inside, quality, -1.0)
        if self.matching == 'argmax':
            best = quality_of_candidates.max(1)
            taken = torch.full_like(quality, -1.0)
            taken.scatter_(1, best.indices[:, None], best.values[:, None])
            return keep_highest(taken)
        rows, columns = linear_sum_assignment(quality_of_candidates.cpu().numpy(), maximize=True)
        gt, prior = (torch.from_numpy(one).to(gts.device) for one in (rows, columns))
        kept = inside[gt, prior]
        matched = torch.full((num_priors,), -1, device=gts.device)
        matched[prior[kept]] = gt[kept]
        centers = (image.gts[:2] + image.gts[2:4]) / 2
        unmatched = torch.ones(num_gts, dtype=torch.bool, device=gts.device)
        unmatched[gt[kept]] = False
        # Gts choose from what is left while there are unused priors.
        for index in unmatched.nonzero().flatten().tolist()[: num_priors - int(kept.sum())]:
            left = quality[index].masked_fill(matched >= 0, -1.0)
            distance = (points - centers[:, index, None]).square_().sum(0)
            matched[distance.masked_fill_(left < left.max(), torch.inf).argmin()] = index
        return matched


def keep_highest(quality: Tensor) -> Tensor:
    """Match each prior to the gt of the highest quality, the first of equal ones.

    Args:
        quality (Tensor): -1 where not a candidate, (num_gts, num_priors).

    Returns:
        Tensor: Index of the gt, -1 for background, int64, (num_priors,).

    >>> keep_highest(torch.tensor([[0.5, -1.0], [0.5, -1.0]])).tolist()
    [0, -1]
    """
    best = quality.max(0)
    first = (quality == best.values).int().argmax(0)
    return torch.where(best.values >= 0, first, -1)


def select_auxiliary(
    quality: Tensor, inside: Tensor, num_level_priors: list[int], topk: int
) -> Tensor:
    """Select the foreground pairs of the auxiliary loss (DeFCN, section 3.4).

    Each gt has its ``topk`` best priors of every level; foreground are those of them that lie
    inside it and have at least the mean plus the standard deviation (n - 1) of all their qualities.

    Args:
        quality (Tensor): Of all pairs, (num_gts, num_priors).
        inside (Tensor): Whether the prior lies inside the gt, bool, same shape.
        num_level_priors (list[int]): Priors per level.
        topk (int): See above; fewer where a level has fewer.

    Returns:
        Tensor: bool, (num_gts, num_priors).
    """
    picked = torch.zeros_like(inside)
    chosen = []
    for level, mark in zip(
        quality.split(num_level_priors, 1), picked.split(num_level_priors, 1), strict=True
    ):
        best = level.topk(min(topk, level.size(1)), dim=1)
        mark.scatter_(1, best.indices, True)
        chosen.append(best.values)
    values = torch.cat(chosen, 1).double()  # (num_gts, num_picked)
    std = values.std(1, correction=1).nan_to_num_()  # of a single prior there is none
    threshold = values.mean(1).add_(std).float()
    return picked & inside & (quality >= threshold[:, None])
