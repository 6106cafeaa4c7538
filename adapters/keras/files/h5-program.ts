/**
 * The program of the thread in which HDF5 runs, as text: it needs no file of its own beside the built package, and none
 * of a bundler's or a test runner's helpers. It knows HDF5 and nothing of Keras.
 *
 * Its `fs` opens the one file that it was started for: a file's links, external storage, virtual datasets and plugins
 * lead nowhere, whatever HDF5 makes of them. HDF5 reports failures to stderr only, also where h5wasm drops the status;
 * what it writes there is caught, and makes the call fail.
 */
export const H5_PROGRAM = `
const fs = require('node:fs');
const path = require('node:path');
const { workerData, parentPort } = require('node:worker_threads');
const { file, library, port, state, longest } = workerData;
const signal = new Int32Array(state);

let noise = '';
let outside;
const { openSync, writeSync } = fs;
const allowed = path.resolve(file);
fs.openSync = (name, ...rest) => {
  if (path.resolve(String(name)) === allowed) return openSync(name, ...rest);
  if (!/hdf5.*plugin$/i.test(String(name))) outside = String(name);
  throw Object.assign(new Error('not allowed'), { code: 'ENOENT' });
};
fs.readdirSync = () => [];
fs.writeSync = (fd, data, offset, length, ...rest) => {
  if (fd !== 1 && fd !== 2) return writeSync(fd, data, offset, length, ...rest);
  if (typeof data === 'string') {
    noise += data;
    return Buffer.byteLength(data);
  }
  const bytes = Buffer.from(data.buffer, data.byteOffset + (offset ?? 0), length ?? data.byteLength - (offset ?? 0));
  if (noise.length < 10000) noise += bytes.toString();
  return bytes.length;
};

let M;
let id;
const ops = {
  open: (mode) => {
    id = M.open(file, mode, false, -1, -1);
    if (id < 0n) throw new Error('HDF5 cannot open it');
  },
  close: () => {
    const last = id;
    id = undefined;
    if (last !== undefined && M.close_file(last) < 0) throw new Error('HDF5 cannot close it');
  },
  look: (at) => {
    const external = M.get_external_link(id, at);
    if (external && external.filename !== undefined) return { kind: 'link', to: external.filename };
    const soft = M.get_symbolic_link(id, at);
    if (soft !== null) return { kind: 'link', to: soft };
    const type = M.get_type(id, at);
    if (type === M.H5G_GROUP) return { kind: 'group' };
    if (type !== M.H5G_DATASET) return { kind: 'other' };
    return { kind: 'dataset', metadata: M.get_dataset_metadata(id, at), filters: M.get_dataset_filters(id, at) };
  },
  names: (at) => M.get_names(id, at, false),
  attributeNames: (at) => M.get_attribute_names(id, at),
  attribute: (at, name) => {
    const { type, size, shape, total_size: count, vlen } = M.get_attribute_metadata(id, at, name);
    if (!shape) return { texts: [], isText: false };
    if (!(count * size <= longest)) throw new Error('an attribute of ' + count * size + ' bytes');
    if (type !== 3) return { texts: [], isText: false, shape };
    const bytes = count * size;
    const at0 = M._malloc(bytes || 1);
    if (at0 === 0) throw new Error('out of memory');
    M.HEAPU8.fill(0, at0, at0 + bytes);
    try {
      if (M.get_attribute_data(id, at, name, BigInt(at0)) < 0) throw new Error('an attribute that cannot be read');
      const texts = [];
      let left = longest;
      for (let i = 0; i < count; i++) {
        let from = at0 + i * size;
        let end;
        if (vlen) {
          from = new DataView(M.HEAPU8.buffer).getUint32(from, true);
          end = from === 0 ? 0 : M.HEAPU8.indexOf(0, from);
        } else {
          end = M.HEAPU8.indexOf(0, from);
          if (end < 0 || end > from + size) end = from + size;
        }
        left -= end - from;
        if (left < 0) throw new Error('an attribute of more than ' + longest + ' bytes');
        texts.push(Buffer.from(M.HEAPU8.subarray(from, end)).toString('utf8'));
      }
      return { texts, isText: true, shape };
    } finally {
      M._free(at0); // what HDF5 took for texts of any length goes with the thread
    }
  },
  read: (at, offset, count, bytes) => {
    const to = M._malloc(bytes || 1);
    if (to === 0) throw new Error('out of memory');
    try {
      const whole = count.length === 0;
      const big = (sizes) => (whole ? null : sizes.map(BigInt));
      const status = M.get_dataset_data(id, at, big(count), big(offset), big(count.map(() => 1)), BigInt(to));
      if (status < 0) throw new Error('numbers that cannot be read');
      return M.HEAPU8.slice(to, to + bytes).buffer;
    } finally {
      M._free(to);
    }
  },
  group: (at) => M.create_group(id, at, false),
  texts: (at, name, data, size, count) => {
    const metadata = { type: 3, size, signed: false, vlen: false, cset: 0, littleEndian: true, total_size: count ?? 1 };
    const shape = count === undefined ? [] : [BigInt(count)];
    if (typeof data === 'string') {
      return M.create_vlen_str_attribute(id, at, name, [data], { ...metadata, size: 4, vlen: true, shape, maxshape: null });
    }
    const from = M._malloc(data.byteLength || 1);
    M.HEAPU8.set(new Uint8Array(data), from);
    const status = M.create_attribute(id, at, name, BigInt(from), { ...metadata, shape, maxshape: null });
    M._free(from);
    return status;
  },
  floats: (at, name) => {
    const metadata = { type: 1, size: 8, signed: false, vlen: false, littleEndian: true, total_size: 0 };
    const from = M._malloc(8);
    const status = M.create_attribute(id, at, name, BigInt(from), { ...metadata, shape: [0n], maxshape: null });
    M._free(from);
    return status;
  },
  dataset: (at, type, size, shape) => {
    const metadata = { type, size, signed: type === 0 && size > 1, vlen: false, littleEndian: true, maxshape: null, chunks: null };
    const total_size = shape.reduce((product, length) => product * length, 1);
    const before = noise;
    const status = M.create_dataset(id, at, 0n, { ...metadata, shape: shape.map(BigInt), total_size });
    // It is made without numbers, which come slice by slice: HDF5's complaint of that, and nothing else, is expected.
    if (total_size > 0 && /H5Dwrite/.test(noise) && !/H5Dcreate/.test(noise)) noise = before;
    return status;
  },
  write: (at, offset, count, data) => {
    const from = M._malloc(data.byteLength || 1);
    if (from === 0) throw new Error('out of memory');
    try {
      M.HEAPU8.set(new Uint8Array(data), from);
      const whole = count.length === 0;
      const big = (sizes) => (whole ? null : sizes.map(BigInt));
      return M.set_dataset_data(id, at, big(count), big(offset), big(count.map(() => 1)), BigInt(from));
    } finally {
      M._free(from);
    }
  },
};

function answer({ op, args }) {
  noise = '';
  outside = undefined;
  try {
    const result = ops[op](...args);
    if (noise !== '' || (typeof result === 'number' && result < 0)) throw new Error('');
    return { result };
  } catch (error) {
    const told = error instanceof Error ? error.message : '';
    // HDF5 tells the way from its door to the reason, which is in the last line.
    const lines = noise.split('\\n').filter((line) => /^ +#\\d+:/.test(line)).map((line) => line.replace(/^.*?\\): /, ''));
    return { error: { told, reason: lines.at(-1) ?? '', outside } };
  }
}

port.on('message', (request) => {
  const reply = answer(request);
  port.postMessage(reply, reply.result instanceof ArrayBuffer ? [reply.result] : []);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
});

import(library)
  .then(({ ready }) => ready)
  .then((module) => {
    M = module;
    parentPort.postMessage('ready');
  });
`;
