"""Identify a simulated oscillator with the core API: data, training, test, figures.

Run it with a directory to write to: python examples/oscillator.py somewhere
"""

import sys
from pathlib import Path

import tsjax_core as tc
from tsjax_core.data.simulated import write_duffing

folder = Path(sys.argv[1])
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 30

dataset = write_duffing(folder / "data")
pipeline = tc.create_grain_dls(
    u=["u"], y=["y"], dataset=dataset, win_sz=300, stp_sz=25, bs=16, valid="files"
)
print(pipeline.summary())

learner = tc.make_learner(
    pipeline,
    "core/gru",
    hidden_size=32,
    loss=tc.compose_losses(mae=(tc.normalized_mae, 1.0), mse=(tc.normalized_mse, 0.1)),
    metrics=[tc.rmse, tc.fit_percent],
    n_skip=100,
)

# The loop is yours: report, stop, change the rate, or save whenever you like.
best = float("inf")
for result in learner.fit_iter(epochs, lr=1e-2, schedule=lambda progress: (1 - progress) ** 2):
    print(f"epoch {result.epoch}: valid {result.valid_loss:.4f} {dict(result.metrics)}")
    if result.valid_loss < best:
        best = result.valid_loss
        learner.save(folder / "model", overwrite=True)

model = tc.load_model(folder / "model")
record = pipeline.test[0]
simulated = tc.predict(model, record["u"])
print("test RMSE in V:", float(tc.rmse(simulated[100:], record["y"][100:])))

for name, figure in {
    "history": tc.plot_history(learner.history),
    "arrow": tc.plot_results(simulated, record["y"], outputs=["y in V"], dt=pipeline.signals.dt),
    "batch": tc.plot_batch(next(pipeline.train_batches(0)), dt=pipeline.signals.dt),
}.items():
    figure.savefig(folder / f"{name}.png")
