/** The attributes of a graph's node, in both forms in which converters have written them. */
import { TuneModeError } from '../../src/errors';
import type { GraphNode } from './graph';

/** One attribute as JSON: numbers may be strings, strings base64 or lists of character codes, enums names or numbers. */
export interface Attribute {
  b?: boolean;
  i?: number | string;
  f?: number | string;
  s?: string | number[];
  type?: string | number;
  shape?: { dim?: { size?: number | string }[]; unknownRank?: boolean };
  list?: { i?: (number | string)[]; s?: (string | number[])[]; f?: (number | string)[] };
}

/** What is wrong with the form of a node's attributes, or undefined. */
export function attributesProblem(attributes: unknown): string | undefined {
  if (!isRecord(attributes)) return 'the attributes are no object';
  const bad = Object.entries(attributes).find(([, attribute]) => !isAttribute(attribute));
  return bad && `attribute '${bad[0]}' is ${JSON.stringify(bad[1])}: that is not the attribute`;
}

function isAttribute(attribute: unknown): boolean {
  if (!isRecord(attribute)) return false;
  const { s, list = {}, shape = {} } = attribute;
  if (s !== undefined && !isText(s)) return false;
  if (!isRecord(list) || !isRecord(shape)) return false;
  const isList = (value: unknown, isItem: (item: unknown) => boolean) =>
    value === undefined || (Array.isArray(value) && value.every(isItem));
  return isList(list.i, isNumber) && isList(list.s, isText) && isList(shape.dim, isRecord);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isNumber = (value: unknown) => typeof value === 'number' || typeof value === 'string';
const isText = (value: unknown) => typeof value === 'string' || (Array.isArray(value) && value.every(isNumber));

export function flag(node: GraphNode, name: string): boolean {
  return node.attributes[name]?.b === true;
}

export function number(node: GraphNode, name: string, otherwise: number): number {
  const { i, f } = node.attributes[name] ?? {};
  return Number(f ?? i ?? otherwise);
}

export function numbers(node: GraphNode, name: string): number[] {
  return (node.attributes[name]?.list?.i ?? []).map(Number);
}

export function text(node: GraphNode, name: string, otherwise: string): string {
  const value = node.attributes[name]?.s;
  return value === undefined ? otherwise : decode(node, name, value);
}

export function texts(node: GraphNode, name: string): string[] {
  return (node.attributes[name]?.list?.s ?? []).map((value) => decode(node, name, value));
}

/** The sizes, null for an unknown one, or undefined where even the rank is unknown. */
export function shape(node: GraphNode, name: string): (number | null)[] | undefined {
  const found = node.attributes[name]?.shape;
  if (found === undefined || found.unknownRank === true) return undefined;
  return (found.dim ?? []).map(({ size }) => (size === undefined || Number(size) < 0 ? null : Number(size)));
}

function decode({ name, op }: GraphNode, attribute: string, value: string | number[]): string {
  if (Array.isArray(value)) return String.fromCharCode(...value);
  try {
    return atob(value);
  } catch (error) {
    throw new TuneModeError(
      'invalid-model-file',
      `The graph cannot be read: attribute '${attribute}' of node '${name}' (${op}) is no base64: ${JSON.stringify(value)}.`,
      { cause: error },
    );
  }
}
