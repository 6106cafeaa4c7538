"""Other files of what an .h5 of Keras holds: `to_keras.py <model.h5> <weights.h5> <model.keras>`.

The first has the weights alone, as Keras 2's save_weights leaves them; the second is a .keras in the layout of Keras 3:
a folder for each layer, called after its class and counted, and in it its weights by number.
"""
import io
import json
import re
import sys
import zipfile

import h5py


def text(value):
    return value.decode("utf8") if hasattr(value, "decode") else value


def snake(name):
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


source, weights, keras = sys.argv[1:]
with h5py.File(source, "r") as f:
    group = f["model_weights"]
    config = json.loads(text(f.attrs["model_config"]))
    with h5py.File(weights, "w") as out:
        for name, value in group.attrs.items():
            out.attrs[name] = value
        for name in group:
            group.copy(name, out)

    of_layer = {}
    for layer in map(text, group.attrs["layer_names"]):
        for name in map(text, group[layer].attrs["weight_names"]):
            of_layer.setdefault(name.split("/")[-2], []).append(group[layer][name][()])

    def put(place, entry):
        inner = entry["config"].get("layers") if isinstance(entry["config"], dict) else None
        if inner is None:
            for i, value in enumerate(of_layer.get(entry["config"]["name"], [])):
                place.require_group("vars").create_dataset(str(i), data=value)
            return
        used = {}
        for each in inner:
            name = snake("Functional" if each["class_name"] == "Model" else each["class_name"])
            number = used.get(name, 0)
            used[name] = number + 1
            put(place.require_group(f"layers/{name}_{number}" if number else f"layers/{name}"), each)

    data = io.BytesIO()
    with h5py.File(data, "w") as out:
        put(out, config)
    with zipfile.ZipFile(keras, "w") as out:
        out.writestr("metadata.json", json.dumps({"keras_version": text(f.attrs["keras_version"])}))
        out.writestr("config.json", json.dumps(config))
        out.writestr("model.weights.h5", data.getvalue())
