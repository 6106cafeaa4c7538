/** The table of graph ops that can be lifted. A new op is a row here. */
import { activations } from './activations';
import { arithmetic } from './arithmetic';
import { normalisations } from './normalisations';
import type { Op } from './op';
import { poolings } from './pooling';
import { products } from './products';
import { shapes } from './shapes';

const TABLE: Record<string, Op> = {
  ...products,
  ...normalisations,
  ...activations,
  ...arithmetic,
  ...poolings,
  ...shapes,
};

export function opOf(name: string): Op | undefined {
  return Object.hasOwn(TABLE, name) ? TABLE[name] : undefined;
}

export const LIFTED_OPS: readonly string[] = Object.keys(TABLE);
