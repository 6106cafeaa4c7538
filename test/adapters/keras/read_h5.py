"""Prints what Keras would read of a .h5 file, as JSON. Usage: read_h5.py FILE"""
import base64
import json
import sys

import h5py
import numpy as np


def decoded(value):
    return value.decode("utf8") if hasattr(value, "decode") else value


def names(group, name):
    """As Keras's load_attributes_from_hdf5_group."""
    if name in group.attrs:
        return [decoded(n) for n in group.attrs[name]]
    found, i = [], 0
    while "%s%d" % (name, i) in group.attrs:
        found.extend(decoded(n) for n in group.attrs["%s%d" % (name, i)])
        i += 1
    return found


with h5py.File(sys.argv[1], "r") as f:
    root = f["model_weights"]
    layers = []
    for name in names(root, "layer_names"):
        weights = []
        for weight in names(root[name], "weight_names"):
            array = np.asarray(root[name][weight])
            data = base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()
            weights.append({"name": weight, "shape": list(array.shape), "dtype": str(array.dtype), "data": data})
        layers.append({"name": name, "weights": weights})
    print(
        json.dumps(
            {
                "attributes": {key: decoded(value) for key, value in f.attrs.items()},
                "inner": {key: decoded(root.attrs[key]) for key in ("backend", "keras_version")},
                "pieces": sorted(key for key in root.attrs if key.startswith("layer_names")),
                "types": {key: str(f.attrs.get_id(key).dtype) for key in f.attrs},
                "top": names(root["top_level_model_weights"], "weight_names"),
                "layers": layers,
            }
        )
    )
