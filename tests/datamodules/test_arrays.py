from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from datamodules import ArrayDataModule, BatchLoader, Field, OddTarget, Spec, StreamDataModule

SAMPLES = {"train": 23, "val": 7, "test": 5}


class Numbers(ArrayDataModule):
    """Samples that are their own indices, so that a batch shows what was picked."""

    eval_batch_size = 3

    @property
    def spec(self):
        return Spec((Field((), torch.int64),), {}, SAMPLES, "1")

    def load(self, split):
        return (torch.arange(SAMPLES[split]),)


class Noisy(Numbers):
    """Numbers with an augmentation: uniform noise."""

    def transform(self, batch, generator):
        return (batch[0] + torch.rand(len(batch[0]), generator=generator),)


class Draws(StreamDataModule):
    """A stream of uniform numbers."""

    eval_batch_size = 4

    @property
    def spec(self):
        return Spec((Field(),), {}, {"train": 6, "val": 10, "test": 0}, "1")

    def sample(self, size, generator):
        return (torch.rand(size, generator=generator),)


class Seen(pl.LightningModule):
    """Keeps the batches that it was given, by epoch and position."""

    def __init__(self, save_at=None, path=None):
        super().__init__()
        self.save_at, self.path = save_at, path
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches: dict[tuple[int, int], list[int]] = {}
        self.held_out: dict[tuple[int, int], list[int]] = {}

    def training_step(self, batch, batch_idx):
        self.batches[self.current_epoch, batch_idx] = batch[0].tolist()
        return self.weight * batch[0].sum()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.global_step == self.save_at:
            self.trainer.save_checkpoint(self.path)

    def validation_step(self, batch, batch_idx):
        self.held_out[self.current_epoch, batch_idx] = batch[0].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def placed(data, rank, world):
    """The data as a rank of a distributed training sees it."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)
    return data


def epoch(loader, number):
    """The batches of an epoch, each a list."""
    loader.set_epoch(number)
    return [batch[0].tolist() for batch in loader]


def flat(batches):
    return [x for batch in batches for x in batch]


def fit(module, ckpt_path=None, **options):
    """Fits on Numbers of seed 0 in batches of four: six steps an epoch."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, datamodule=Numbers(4, seed=0), ckpt_path=ckpt_path, weights_only=True)
    return trainer


@pytest.mark.parametrize("cls", [Numbers, Noisy, Draws])
def test_a_batch_is_a_function_of_seed_epoch_and_position(cls):
    one, other = cls(4, seed=3).train_dataloader(), cls(4, seed=3).train_dataloader()
    forward = [epoch(one, e) for e in (0, 1, 2)]
    backward = [epoch(other, e) for e in (2, 1, 0)]
    assert forward == backward[::-1]
    assert forward[0] != forward[1]


@pytest.mark.parametrize("cls", [Numbers, Noisy, Draws])
def test_another_seed_gives_other_batches(cls):
    assert epoch(cls(4, seed=0).train_dataloader(), 0) != epoch(cls(4, seed=1).train_dataloader(), 0)


@pytest.mark.parametrize("number", [0, 1, 7])
def test_an_epoch_is_a_permutation(number):
    batches = epoch(Numbers(4, seed=0).train_dataloader(), number)
    assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 3]
    assert sorted(flat(batches)) == list(range(23)) != flat(batches)


def test_drop_last_keeps_whole_batches_only():
    loader = Numbers(4, seed=0, drop_last=True).train_dataloader()
    assert len(loader) == 5
    assert epoch(loader, 0) == epoch(Numbers(4, seed=0).train_dataloader(), 0)[:5]


def test_held_out_splits_come_in_order():
    data = Numbers(4, seed=0)
    assert epoch(data.val_dataloader(), 0) == epoch(data.val_dataloader(), 9) == [[0, 1, 2], [3, 4, 5], [6]]
    assert epoch(data.test_dataloader(), 0) == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("cls", [Numbers, Noisy, Draws])
@pytest.mark.parametrize("done", [1, 4, 6])
def test_a_restored_loader_continues(cls, done):
    whole = cls(4, seed=0).train_dataloader()
    expected = epoch(whole, 2) + epoch(whole, 3)
    stopped, restored = cls(4, seed=0).train_dataloader(), cls(4, seed=0).train_dataloader()
    stopped.set_epoch(2)
    iterator = iter(stopped)
    first = [next(iterator)[0].tolist() for _ in range(done)]
    restored.load_state_dict(stopped.state_dict())
    rest = epoch(restored, 2) if done < 6 else []  # a trainer that ended an epoch resumes with the next
    assert first + rest + epoch(restored, 3) == expected


def test_an_iteration_that_was_broken_off_leaves_no_trace():
    loader = BatchLoader(lambda epoch, position: position, 5)
    assert next(iter(loader)) == 0
    assert list(loader) == [0, 1, 2, 3, 4]


def test_limited_validation_sees_the_same_batches_each_epoch():
    module = Seen()
    fit(module, max_epochs=2, limit_val_batches=2)
    for number in (0, 1):
        assert [module.held_out[number, i] for i in (0, 1)] == [[0, 1, 2], [3, 4, 5]]


def test_a_trainer_shuffles_anew_each_epoch():
    module = Seen()
    fit(module, max_epochs=3)
    loader = Numbers(4, seed=0).train_dataloader()
    for number in range(3):
        assert [module.batches[number, i] for i in range(6)] == epoch(loader, number)


@pytest.mark.parametrize("steps", [6, 9])
def test_a_resumed_trainer_sees_the_batches_of_an_uninterrupted_one(tmp_path, steps):
    whole, rest = Seen(save_at=steps, path=tmp_path / "at.ckpt"), Seen()
    fit(whole, max_epochs=3)
    fit(rest, tmp_path / "at.ckpt", max_epochs=3)
    assert len(rest.batches) == 18 - steps
    assert rest.batches == {key: whole.batches[key] for key in rest.batches}


@pytest.mark.parametrize("world", [2, 3])
def test_the_shards_of_the_ranks_are_disjoint_with_equal_steps(world):
    loaders = [placed(Numbers(4, seed=0), rank, world).train_dataloader() for rank in range(world)]
    assert len({len(loader) for loader in loaders}) == 1
    shards = [flat(epoch(loader, 1)) for loader in loaders]
    assert {len(shard) for shard in shards} == {23 // world}
    assert len(set(flat(shards))) == len(flat(shards))


@pytest.mark.parametrize("cls", [Numbers, Draws])
def test_the_ranks_share_a_held_out_split(cls):
    shards = [flat(epoch(placed(cls(4, seed=0), rank, 2).val_dataloader(), 0)) for rank in (0, 1)]
    assert sorted(flat(shards)) == sorted(flat(epoch(cls(4, seed=0).val_dataloader(), 0)))


@pytest.mark.parametrize(("size", "world"), [(7, 2), (13, 2), (19, 3), (24, 2), (25, 4), (2, 2)])
def test_the_ranks_take_equally_many_held_out_batches(size, world):
    """Also where one rank's last batch has a single sample and another rank has none left."""

    class Sized(Numbers):
        def load(self, split):
            return (torch.arange(size),)

    data = [placed(Sized(4, seed=0), rank, world) for rank in range(world)]
    batches = [epoch(one.loader("val"), 0) for one in data]
    assert len({len(one) for one in batches}) == 1
    assert all(0 < len(batch) <= Numbers.eval_batch_size for one in batches for batch in one)
    assert sorted(flat(flat(one) for one in batches)) == list(range(size))


@pytest.mark.parametrize("position", range(5))
def test_a_batch_of_all_ranks_is_the_batch_of_one_process(position):
    """The same samples, with each rank's batch_size times the ranks: what makes their trainings comparable."""
    one = epoch(Numbers(4, seed=0, drop_last=True).train_dataloader(), 2)
    ranks = [placed(Numbers(2, seed=0, drop_last=True), rank, 2) for rank in (0, 1)]
    shares = [epoch(rank.train_dataloader(), 2) for rank in ranks]
    assert {len(share) for share in shares} == {len(one)}
    assert sorted(shares[0][position] + shares[1][position]) == sorted(one[position])


@pytest.mark.parametrize("cls", [Noisy, Draws])
def test_the_ranks_draw_different_random_numbers(cls):
    one, other = (flat(epoch(placed(cls(4, seed=0), rank, 2).train_dataloader(), 0)) for rank in (0, 1))
    assert not {x % 1 for x in one} & {x % 1 for x in other}


def test_a_stream_is_fresh_and_its_held_out_samples_fixed():
    data = Draws(4, seed=0)
    loader = data.train_dataloader()
    drawn = flat(epoch(loader, 0) + epoch(loader, 1))
    assert len(set(drawn)) == 2 * 6 * 4
    held = flat(epoch(data.val_dataloader(), 0))
    assert held == flat(epoch(data.val_dataloader(), 5)) == flat(epoch(Draws(99, seed=0).val_dataloader(), 0))
    assert len(held) == 10
    assert not set(held) & set(drawn)


def test_a_split_without_samples_has_no_loader():
    assert Draws(4, seed=0).test_dataloader() == []


@pytest.mark.parametrize(("dim", "seed"), [(1, 0), (5, 1), (20, 2)])
def test_odd_target_has_its_population_moments(dim, seed):
    data = OddTarget(dim=dim, val_size=400_000, seed=seed)
    x, y = (t.double() for t in data.held_out("val"))
    best = data.best_linear.double()
    population = [
        (y, 0.0),
        (y**2 / 2, 1.0),
        (x[:, 0] ** 2, 1 / dim),
        (x[:, 0] ** 6, 15 / dim**3),
        (x[:, 0] * y, (best[0] / dim).item()),  # the normal equations: E[x x'] w* = E[x y] with E[x x'] = I/d
        ((y - x @ best) ** 2 / 2, 0.4),
    ]
    for sample, expected in population:
        error = sample.std().item() / len(sample) ** 0.5
        assert sample.mean().item() == pytest.approx(expected, abs=4 * error)


def test_the_direction_of_odd_target_belongs_to_its_seed():
    one, same, other = OddTarget(seed=0), OddTarget(seed=0), OddTarget(seed=1)
    assert torch.equal(one.direction, same.direction)
    assert not torch.equal(one.direction, other.direction)
    assert one.direction.norm().item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["dim", "steps_per_epoch", "test_size"])
def test_odd_target_refuses_empty_sizes(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        OddTarget(**{name: 0})
