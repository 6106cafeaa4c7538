"""Writes files in the layouts of Keras, with h5py alone. Usage: write_keras.py FOLDER; prints what is in them as JSON.

Weights are numbered through, so that each one says where it belongs: weight i of a file holds i, i + 1/8, ...
"""
import base64
import json
import os
import sys
import zipfile

import h5py
import numpy as np

folder = sys.argv[1]
told = {}


def values(i, shape, dtype="float32"):
    count = int(np.prod(shape)) if shape else 1
    return (i + np.arange(count) / 8).astype(dtype).reshape(shape)


def names(group, name, data):
    """As Keras's save_attributes_to_hdf5_group: in pieces where it would be longer than a header may be."""
    limit = 64512
    array = np.asarray(data)
    pieces = 1
    parts = np.array_split(array, pieces)
    while any(part.nbytes > limit for part in parts):
        pieces += 1
        parts = np.array_split(array, pieces)
    if pieces > 1:
        for i, part in enumerate(parts):
            group.attrs["%s%d" % (name, i)] = part
    else:
        group.attrs[name] = data


def legacy(group, layers, text=lambda name: name.encode("utf8"), dtype="float32", **options):
    """layers: a list of (name, [(weight name, shape)]). Returns what was written, by layer and weight."""
    names(group, "layer_names", [text(name) for name, _ in layers])
    group.attrs["backend"] = text("tensorflow")
    group.attrs["keras_version"] = text("2.15.0")
    written = {}
    i = 0
    numbered = []
    for name, weights in layers:
        numbered.append((name, [(weight, shape, i + k) for k, (weight, shape) in enumerate(weights)]))
        i += len(weights)
    for name, weights in sorted(numbered):
        inner = group.create_group(name)
        names(inner, "weight_names", [text(weight) for weight, _, _ in weights])
        for weight, shape, k in weights:
            data = values(k, shape, dtype)
            inner.create_dataset(weight, data=data, **(options if shape else {}))
            written["%s|%s" % (name, weight)] = base64.b64encode(data.astype("<f4").tobytes()).decode()
    return written


def whole(file, layers, config, text=lambda name: name.encode("utf8"), **options):
    with h5py.File(os.path.join(folder, file), "w") as f:
        f.attrs["model_config"] = text(json.dumps(config))
        f.attrs["keras_version"] = text("2.15.0")
        f.attrs["backend"] = text("tensorflow")
        written = legacy(f.create_group("model_weights"), layers, text, **options)
        f.create_group("optimizer_weights").create_dataset("iter:0", data=np.int64(3))
    told[file] = written


CONV = [
    ("input_1", []),
    ("conv1", [("conv1/kernel:0", (3, 3, 2, 4)), ("conv1/bias:0", (4,))]),
    ("bn1", [("bn1/%s:0" % w, (4,)) for w in ("gamma", "beta", "moving_mean", "moving_variance")]),
    ("relu", []),
    ("dense", [("dense/kernel:0", (4, 3)), ("dense/bias:0", (3,))]),
]
CONFIG = {"class_name": "Functional", "config": {"name": "model", "note": "é ✓"}}
whole("keras2.h5", CONV, CONFIG)
whole("text.h5", CONV, CONFIG, text=lambda name: name)
whole("float16.h5", CONV, CONFIG, dtype="float16")
whole("float64.h5", CONV, CONFIG, dtype="float64")
whole("big-endian.h5", CONV, CONFIG, dtype=">f4")
whole("big-endian-half.h5", CONV, CONFIG, dtype=">f2")
whole("gzip.h5", CONV, CONFIG, compression="gzip", shuffle=True, fletcher32=True)
whole("lzf.h5", CONV, CONFIG, compression="lzf")
whole("int32.h5", CONV, CONFIG, dtype="int32")
whole("int64.h5", CONV, CONFIG, dtype="int64")

# Keras 3's legacy format: paths of variables as names.
whole(
    "keras3.h5",
    [(name, [(weight.replace(":0", ""), shape) for weight, shape in weights]) for name, weights in CONV],
    CONFIG,
    text=lambda name: name.encode("utf8"),
)

# Weights alone, also under other layers' names.
for file, rename in (("weights.h5", lambda name: name), ("renamed.h5", lambda name: name + "_7")):
    with h5py.File(os.path.join(folder, file), "w") as f:
        layers = [
            (rename(name), [(rename(name) + weight[len(name) :], shape) for weight, shape in weights])
            for name, weights in CONV
        ]
        told[file] = legacy(f, layers)

# A nested model, saved while its first layer was frozen: trainable weights come first.
whole(
    "nested.h5",
    [
        ("input_1", []),
        (
            "base",
            [("bn1/gamma:0", (2,)), ("bn1/beta:0", (2,)), ("a/kernel:0", (2, 2)), ("a/bias:0", (2,))]
            + [("bn1/moving_mean:0", (2,)), ("bn1/moving_variance:0", (2,))],
        ),
        ("dense", [("dense/kernel:0", (2, 3)), ("dense/bias:0", (3,))]),
    ],
    CONFIG,
)

# Lists of names that are longer than 64 kB.
whole("chunked.h5", [("layer_%04d_%s" % (i, "x" * 80), [("layer_%04d/bias:0" % i, (1,))]) for i in range(1200)], CONFIG)

# Keras 1.
with h5py.File(os.path.join(folder, "keras1.h5"), "w") as f:
    f.attrs["model_config"] = json.dumps(CONFIG).encode()
    f.attrs["keras_version"] = b"1.2.2"
    group = f.create_group("model_weights")
    group.attrs["layer_names"] = [b"dense_1"]
    inner = group.create_group("dense_1")
    inner.attrs["weight_names"] = [b"dense_1_W", b"dense_1_b"]
    inner["dense_1_W"] = values(0, (4, 3))
    inner["dense_1_b"] = values(1, (3,))


def v3(f, tree, lists="layers", named=False, i=0):
    """tree: {path: [shapes]}."""
    for path, shapes in tree.items():
        group = f.create_group("%s/vars" % path.replace("layers/", lists + "/"))
        if named:
            group.attrs["name"] = named[path]
        for k, shape in enumerate(shapes):
            group[str(k)] = values(i, shape)
            i += 1


TREE = {
    "layers/conv2d": [(3, 3, 2, 4), (4,)],
    "layers/batch_normalization": [(4,)] * 4,
    "layers/conv2d_1": [(3, 3, 4, 4), (4,)],
    "layers/input_layer": [],
    "layers/re_lu": [],
    "layers/dense": [(4, 3), (3,)],
}
NAMES = dict(zip(TREE, ("first", "bn1", "second", "input", "relu", "head")))
# As Keras 2.13 counts: a layer with weights is in its list twice, and is counted twice.
OLD = {path.replace("conv2d_1", "conv2d_2"): shapes for path, shapes in TREE.items()}


def v3_file(name, *args, **options):
    with h5py.File(os.path.join(folder, name), "w") as f:
        v3(f, *args, **options)
        f.create_group("optimizer/vars")["0"] = np.int64(3)


v3_file("v3.weights.h5", TREE)
v3_file("v3-named.weights.h5", TREE, named=NAMES)
# Names tell against the order of the numbers, and then they are right.
TWINS = {"layers/dense": [(2, 2), (2,)], "layers/dense_1": [(2, 2), (2,)]}
v3_file("v3-swapped.weights.h5", TWINS, named={"layers/dense": "dense_1", "layers/dense_1": "dense"})
v3_file("v3-keys.weights.h5", {"layers/" + NAMES[path]: shapes for path, shapes in TREE.items()})
v3_file("v3-old.weights.h5", OLD, lists="_layer_checkpoint_dependencies")
INNER = {
    "layers/functional/layers/dense": [(2, 2), (2,)],
    "layers/functional/layers/dense_1": [(2, 2), (2,)],
    "layers/sequential/layers/dense": [(2, 2), (2,)],
    "layers/dense": [(2, 2), (2,)],
    "layers/dropout/seed_generator": [(2,)],
}
v3_file("v3-nested.weights.h5", INNER)
WRAPPED = {
    "layers/time_distributed/layer": [(2, 2), (2,)],
    "layers/bidirectional/forward_layer/cell": [(2, 8), (2, 8), (8,)],
    "layers/bidirectional/backward_layer/cell": [(2, 8), (2, 8), (8,)],
    "layers/gru/cell": [(4, 6), (2, 6), (6,)],
}
v3_file("v3-wrapped.weights.h5", WRAPPED)
with h5py.File(os.path.join(folder, "bfloat16.weights.h5"), "w") as f:
    v3(f, {"layers/dense": []})
    data = np.array([[0x3F80, 0xC000]], dtype="<u2").view("V2")
    f["layers/dense/vars"].create_dataset("0", data=data).attrs["dtype"] = "bfloat16"

for method, name in ((zipfile.ZIP_STORED, "model.keras"), (zipfile.ZIP_DEFLATED, "deflated.keras")):
    with zipfile.ZipFile(os.path.join(folder, name), "w", method) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.8.0", "date_saved": "2025-01-01"}))
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.write(os.path.join(folder, "v3.weights.h5"), "model.weights.h5")

v3_file("v3-plain.weights.h5", {"layers/special_dense": [(2, 2), (2,)], "layers/dense": [(2, 2), (2,)]})
with zipfile.ZipFile(os.path.join(folder, "v3-plain.keras"), "w") as archive:
    layers = [{"class_name": "SpecialDense", "config": {"name": "y"}}, {"class_name": "Dense", "config": {"name": "x"}}]
    archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
    archive.write(os.path.join(folder, "v3-plain.weights.h5"), "model.weights.h5")


# What is wrong, and how.
def broken(name, change):
    with h5py.File(os.path.join(folder, name), "w") as f:
        f.attrs["model_config"] = json.dumps(CONFIG).encode()
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense"]
        inner = group.create_group("dense")
        inner.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        change(f, group, inner)
        for weight, shape in (("kernel:0", (4, 3)), ("bias:0", (3,))):
            if weight not in inner.keys():
                inner[weight] = values(0, shape)


def replace_attribute(of, name, value):
    of.attrs[name] = value


with h5py.File(os.path.join(folder, "elsewhere.h5"), "w") as f:
    f["secret"] = values(0, (4, 3))
open(os.path.join(folder, "raw.bin"), "wb").write(b"\0" * 48)
broken("wrong-layer-dataset.h5", lambda f, g, i: replace_attribute(g, "layer_names", [b"dense/kernel:0"]))
broken("wrong-names-numbers.h5", lambda f, g, i: replace_attribute(i, "weight_names", [1, 2]))
broken("wrong-weight-text.h5", lambda f, g, i: i.__setitem__("kernel:0", np.array([b"abc", b"d"])))
broken("wrong-weight-group.h5", lambda f, g, i: i.create_group("kernel:0"))
broken("wrong-weight-compound.h5", lambda f, g, i: i.__setitem__("kernel:0", np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])))
broken("wrong-missing.h5", lambda f, g, i: replace_attribute(i, "weight_names", [b"kernel:0", b"nothing:0"]))
broken("wrong-huge.h5", lambda f, g, i: i.create_dataset("kernel:0", (1 << 30, 1 << 20), "f4", chunks=(1024, 64)))
broken("wrong-huge-gzip.h5", lambda f, g, i: i.create_dataset("kernel:0", (1 << 30,), "f4", chunks=(1024,), compression="gzip"))
broken("wrong-empty.h5", lambda f, g, i: i.__setitem__("kernel:0", h5py.Empty("f4")))
broken("wrong-soft-link.h5", lambda f, g, i: i.__setitem__("kernel:0", h5py.SoftLink("/model_weights/dense/bias:0")))
broken("wrong-external-link.h5", lambda f, g, i: i.__setitem__("kernel:0", h5py.ExternalLink("elsewhere.h5", "/secret")))
broken("wrong-external-storage.h5", lambda f, g, i: i.create_dataset(
    "kernel:0", (4, 3), "f4", external=[(os.path.join(folder, "raw.bin"), 0, 48)]))
layout = h5py.VirtualLayout((4, 3), "f4")
layout[:] = h5py.VirtualSource(os.path.join(folder, "elsewhere.h5"), "secret", (4, 3))
broken("wrong-virtual.h5", lambda f, g, i: i.create_virtual_dataset("kernel:0", layout))
broken("wrong-int64.h5", lambda f, g, i: i.__setitem__("kernel:0", np.array([1, 1 << 40])))
broken("wrong-json.h5", lambda f, g, i: replace_attribute(f, "model_config", b'{"a": '))
broken("wrong-deep.h5", lambda f, g, i: replace_attribute(f, "model_config", b"[" * 5000 + b"]" * 5000))
broken("wrong-config-number.h5", lambda f, g, i: replace_attribute(f, "model_config", 3))
with h5py.File(os.path.join(folder, "wrong-cycle.weights.h5"), "w") as f:
    group = f.create_group("layers/functional/layers")
    for i in range(4):
        group["functional_%d" % i] = f["layers/functional"]
with h5py.File(os.path.join(folder, "wrong-nothing.h5"), "w") as f:
    f["x"] = values(0, (2,))
with h5py.File(os.path.join(folder, "big.weights.h5"), "w") as f:
    data = np.arange(5 * 1024 * 1024 * 3, dtype="<f4").reshape((3, 5, 1024 * 1024))
    f.create_group("layers/dense/vars").create_dataset("0", data=data)
with open(os.path.join(folder, "shifted.h5"), "wb") as out:
    pass
with h5py.File(os.path.join(folder, "shifted.h5"), "w", userblock_size=1024) as f:
    f.attrs["model_config"] = json.dumps(CONFIG).encode()
    told["shifted.h5"] = legacy(f.create_group("model_weights"), CONV)

print(json.dumps(told))
