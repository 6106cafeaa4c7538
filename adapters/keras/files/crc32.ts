/** The check sum of zips. */
import zlib from 'node:zlib';

/** Node has it since 20.15. */
const native = (zlib as { crc32?: (data: Uint8Array, before: number) => number }).crc32;

let table: Uint32Array | undefined;

/** @param before the sum of what came before. */
export function crc32(data: Uint8Array, before: number): number {
  return native ? native(data, before) : slowCrc32(data, before);
}

export function slowCrc32(data: Uint8Array, before: number): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let bits = byte;
    for (let i = 0; i < 8; i++) bits = bits & 1 ? (bits >>> 1) ^ 0xedb88320 : bits >>> 1;
    return bits;
  });
  let sum = ~before;
  for (let i = 0; i < data.length; i++) sum = (sum >>> 8) ^ table[(sum ^ data[i]) & 255];
  return ~sum >>> 0;
}
