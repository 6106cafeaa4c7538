/** What the operating system refuses, as one sentence. */
const MEANINGS: Record<string, string> = {
  ENOSPC: 'there is no space left on the disk',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would become larger than allowed here',
  EROFS: 'the disk is read-only',
  EACCES: 'the permission is missing',
  EPERM: 'it is not permitted',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EMFILE: 'too many files are open',
  EIO: 'the disk reports an error',
};

/** @returns undefined for what is no error of the system. */
export function describeSystemError(error: unknown): string | undefined {
  const { code, syscall, path, dest } = (error ?? {}) as NodeJS.ErrnoException & { dest?: string };
  if (typeof code !== 'string' || typeof syscall !== 'string') return undefined;
  const place = dest ?? path;
  const where = place === undefined ? '' : ` '${place}'`;
  const doing = ['write', 'open', 'mkdir', 'rename', 'fsync', 'link'].includes(syscall)
    ? 'cannot write'
    : `${syscall} failed`;
  return `${doing}${where}: ${MEANINGS[code] ?? 'the system refuses'} (${code}).`;
}
