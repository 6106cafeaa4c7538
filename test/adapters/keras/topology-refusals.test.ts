import { mapTopology } from '../../../adapters/keras/topology';
import { build, chain2, copy, functional3, input3, layer3, map, refusal, tensor3 } from './topology-models';

describe('everything unsupported is told at once', () => {
  const config = chain2([
    ['Conv2D', { name: 'conv1', filters: 2, kernel_size: 3, groups: 2 }],
    ['Lambda', { name: 'mine', function: 'f' }],
    ['Dense', { name: 'dense', units: 1, new_argument: 1 }],
  ]);

  test('by path and class', () => {
    const { code, message } = refusal(() => map(config, '2.9.0'));
    expect(code).toBe('unsupported');
    expect(message).toContain("'conv1' (Conv2D): groups = 2, tfjs-layers computes 1 only");
    expect(message).toContain("'mine' (Lambda): no layer class of tfjs-layers");
    expect(message).toContain("'dense' (Dense): new_argument = 1, an argument unknown to tfjs-layers");
    expect(message).toContain('Layer classes concerned: Conv2D, Lambda, Dense.');
  });

  test('with allowCustom the unknown passes and is told, what tfjs-layers would compute differently does not', () => {
    expect(refusal(() => map(config, '2.9.0', true)).message).not.toMatch(/mine|new_argument/);
    config.config.layers[1].config = { ...config.config.layers[1].config, groups: 1 } as never;
    const { topology, notes } = map(config, '2.9.0', true);
    expect(notes).toEqual([
      "'mine' (Lambda): no layer class of tfjs-layers; kept as it is.",
      "'dense' (Dense): new_argument = 1, an argument unknown to tfjs-layers; kept as it is.",
    ]);
    const text = JSON.stringify(topology);
    expect(text).toContain('"function":"f"');
    expect(text).toContain('"new_argument":1');
  });

  test('at most 20, but the classes of all', () => {
    const many = Array.from({ length: 30 }, (_, i): [string, object] => [
      i === 29 ? 'Last' : 'Lambda',
      { name: `l${i}` },
    ]);
    const { message } = refusal(() => map(chain2(many)));
    expect(message).toContain("'l19' (Lambda)");
    expect(message).not.toContain("'l20' (Lambda)");
    expect(message).toContain('; and 10 more. Layer classes concerned: Lambda, Last.');
  });

  test('layers of models and wrappers within are named with their path', () => {
    const inner = { ...chain2([['Lambda', { name: 'deep' }]]), name: 'inner', inbound_nodes: [[['in', 0, 0, {}]]] };
    inner.config.name = 'inner';
    const outer = chain2([['TimeDistributed', { name: 'td', layer: { class_name: 'Lambda', config: { name: 'l' } } }]]);
    outer.config.layers.push(inner as never);
    const { message } = refusal(() => map(outer));
    expect(message).toContain("'td/l' (Lambda)");
    expect(message).toContain("'inner/deep' (Lambda)");
  });
});

describe('files that no Keras wrote', () => {
  type Chain = ReturnType<typeof chain2>;
  // biome-ignore lint/suspicious/noExplicitAny: the tests damage it at will
  const damaged = (change: (config: any, layers: any[]) => void): Chain => {
    const config = copy(
      chain2(
        [
          ['Dense', { name: 'a', units: 2 }],
          ['Dense', { name: 'b', units: 2 }],
        ],
        [null, 4],
      ),
    );
    change(config.config, config.config.layers);
    return config;
  };
  const called = (layer: number, call: unknown[]) =>
    damaged((_, layers) => {
      layers[layer].inbound_nodes = [[call]];
    });
  const units = (value: unknown) =>
    damaged((_, layers) => {
      layers[1].config.units = value;
    });

  test.each<[string, unknown, string]>([
    ['null', null, 'found null'],
    ['text', 'model', "found 'model'"],
    ['no class', { config: {} }, "its 'class_name' is undefined"],
    ['no config', { class_name: 'Model' }, "its 'config' is undefined"],
    ['config as text', { class_name: 'Model', config: '{}' }, "its 'config' is '{}'"],
    ['empty list', [], 'it has no layers'],
    [
      'layers no list',
      damaged((config) => {
        config.layers = {};
      }),
      "its 'layers' are {}",
    ],
    [
      'a layer that is none',
      damaged((_, layers) => {
        layers[1] = 7;
      }),
      "layer 'layers[1]': found 7",
    ],
    [
      'a layer without class',
      damaged((_, layers) => {
        delete layers[1].class_name;
      }),
      "'class_name' is undefined",
    ],
    [
      'a name that is none',
      damaged((_, layers) => {
        layers[1].name = 3;
      }),
      'its name is 3',
    ],
    [
      'no name',
      damaged((_, layers) => {
        delete layers[1].name;
        delete layers[1].config.name;
      }),
      'it has no name',
    ],
    [
      'two names',
      damaged((_, layers) => {
        layers[1].config.name = 'c';
      }),
      "its configuration calls it 'c'",
    ],
    [
      'a name twice',
      damaged((_, layers) => {
        layers[2].name = layers[2].config.name = 'a';
      }),
      "'a': two layers have this name",
    ],
    [
      'calls no list',
      damaged((_, layers) => {
        layers[1].inbound_nodes = 'in';
      }),
      "its 'inbound_nodes' are 'in'",
    ],
    ['an input of nowhere', called(1, ['x', 0, 0, {}]), "layer 'a': its input 'x' is no layer"],
    ['a call that is not', called(2, ['a', 1, 0, {}]), "'a' is call 1, but there are only 1"],
    ['an output that is not', called(2, ['a', 0, 1, {}]), "'a' is output 1"],
    ['half a call', called(2, ['a', 0.5, 0, {}]), 'expected ["layer", node, tensor]'],
    ['a negative call', called(2, ['a', -1, 0, {}]), 'expected ["layer", node, tensor]'],
    ['a circle', called(1, ['b', 0, 0, {}]), "runs in a circle: 'a', 'b' wait for each other"],
    ['a layer on itself', called(1, ['a', 0, 0, {}]), "runs in a circle: 'a'"],
    [
      'an output layer of nowhere',
      damaged((config) => {
        config.output_layers = [['x', 0, 0]];
      }),
      "in 'output_layers' 'x' is no layer",
    ],
    [
      'no inputs',
      damaged((config) => {
        delete config.input_layers;
      }),
      'found undefined',
    ],
    [
      'no outputs',
      damaged((config) => {
        config.output_layers = [];
      }),
      'no inputs or no outputs',
    ],
    ['units below 1', units(0), 'units = 0, expected a whole number from 1'],
    ['units in part', units(1.5), 'units = 1.5'],
    ['units as text', units('2'), "units = '2'"],
    ['units without end', units(2 ** 31), 'units = 2147483648'],
    [
      'no units',
      damaged((_, layers) => {
        delete layers[1].config.units;
      }),
      "Dense without 'units'",
    ],
    [
      'a shape of text',
      damaged((_, layers) => {
        layers[0].config.batch_input_shape = 'any';
      }),
      'batch_input_shape',
    ],
    [
      'a negative shape',
      damaged((_, layers) => {
        layers[0].config.batch_input_shape = [null, -4];
      }),
      'batch_input_shape',
    ],
    ['a kernel of many gigabytes', chain2([['Conv2D', { filters: 1e6, kernel_size: [1000, 1000] }]]), 'a weight of'],
    [
      'a vocabulary of many gigabytes',
      chain2([['Embedding', { input_dim: 1e9, output_dim: 1000 }]], [null, 4]),
      'a weight of',
    ],
    ['a kernel of three sizes', chain2([['Conv2D', { filters: 1, kernel_size: [1, 1, 1] }]]), 'kernel_size'],
  ])('%s', (_name, config, expected) => {
    const { code, message } = refusal(() => map(config, '2.9.0'));
    expect(code).toBe('invalid-model-file');
    expect(message).toContain(expected);
    expect(message).toContain("'model.json'");
  });

  test('models too deep in each other, JSON too deep for anybody', () => {
    let nest: object = { class_name: 'Dense', config: { name: 'd', units: 1, batch_input_shape: [null, 1] } };
    for (let i = 0; i < 120; i++) nest = { class_name: 'Sequential', config: { name: `s${i}`, layers: [nest] } };
    expect(refusal(() => map(nest)).message).toContain('more than 100 deep');
    let wrapped: object = { class_name: 'Dense', config: { units: 1 } };
    for (let i = 0; i < 120; i++) wrapped = { class_name: 'TimeDistributed', config: { layer: wrapped } };
    expect(refusal(() => map(chain2([['TimeDistributed', wrapped]]))).code).toBe('invalid-model-file');
    let lists: unknown = 0;
    for (let i = 0; i < 20000; i++) lists = [lists];
    expect(refusal(() => map({ class_name: 'Model', config: { layers: lists } })).message).toContain('levels deep');
  });

  test('a shared layer in a circle over two calls', () => {
    const dense = layer3('Dense', 'd', { units: 4 }, tensor3('d', 1), tensor3('d', 0));
    const config = functional3('net', [input3('a'), dense], ['a', 0, 0], ['d', 0, 0]);
    expect(refusal(() => map(config, '3.0.0')).message).toContain('runs in a circle');
  });
});

describe('names of the language itself', () => {
  test.each(['constructor', 'toString', 'hasOwnProperty'])(
    "a layer called '%s' is refused; tfjs-layers breaks on it",
    (name) => {
      const { code, message } = refusal(() => map(chain2([['Dense', { name, units: 1 }]])));
      expect(code).toBe('unsupported');
      expect(message).toContain(`'${name}' (Dense)`);
    },
  );

  test.each(['constructor', '__proto__', 'toString'])("'%s' is no layer class and no argument", (key) => {
    expect(refusal(() => map(chain2([[key, { name: 'it' }]]))).message).toContain(`'it' (${key}): no layer class`);
    const config = JSON.parse(
      JSON.stringify(chain2([['Dense', { name: 'it', units: 1, KEY: 1 }]])).replace('KEY', key),
    );
    if (key === '__proto__') expect(JSON.stringify(map(config).topology)).not.toContain(key);
    else expect(refusal(() => map(config)).message).toContain(`${key} = 1, an argument unknown`);
    expect(({} as Record<string, unknown>).units).toBeUndefined();
  });

  test('a polluted configuration reaches no prototype', async () => {
    const text = JSON.stringify(chain2([['Dense', { name: 'it', units: 1 }]])).replace(
      '"units":1',
      '"units":1,"__proto__":{"polluted":true,"units":3}',
    );
    const { topology } = mapTopology('m', JSON.parse(text), undefined, { allowCustom: true });
    await build(topology);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('files damaged at random', () => {
  const sound = () =>
    copy(
      functional3(
        'net',
        [
          input3('a'),
          layer3('Dense', 'd', { units: 4, activation: 'relu' }, tensor3('a'), tensor3('d')),
          {
            ...functional3('inner', [input3('i')], [['i', 0, 0]], [['i', 0, 0]]),
            name: 'inner',
            inbound_nodes: [{ args: [tensor3('d', 1)], kwargs: {} }],
          },
          layer3('Concatenate', 'c', { axis: -1 }, [tensor3('d', 0), tensor3('inner', 0)]),
        ],
        [['a', 0, 0]],
        [['c', 0, 0]],
      ),
    );

  type Holder = Record<string, unknown>;
  const places = (value: unknown, found: [Holder, string][] = []): [Holder, string][] => {
    if (value === null || typeof value !== 'object') return found;
    for (const key of Object.keys(value)) {
      found.push([value as Holder, key]);
      places((value as Holder)[key], found);
    }
    return found;
  };

  test('are mapped or refused, and what is mapped ends', async () => {
    const values: unknown[] = [null, -1, 0, 1, 1e12, 'x', 'd', 'a', [], {}, [[]], [['a', 0, 0]], true, tensor3('c')];
    const count = places(sound()).length;
    let refused = 0;
    for (let at = 0; at < count; at++) {
      for (const [index, value] of values.entries()) {
        const config = sound();
        const [holder, key] = places(config)[at];
        holder[key] = copy(value);
        let topology: object | undefined;
        try {
          topology = map(config, '3.9.2').topology;
        } catch (error) {
          expect([at, value, (error as Error).name]).toEqual([at, value, 'TuneModeError']);
          refused++;
        }
        // Whatever tfjs-layers says of it, it says so; building all of them would take minutes.
        if (topology !== undefined && (at + index) % 7 === 0) await build(topology).catch(() => {});
      }
    }
    expect(refused).toBeGreaterThan(count);
  });
});
