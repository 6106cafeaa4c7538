/**
 * Completes package-lock.json with the binaries of other platforms: `node scripts/complete-lockfile.mjs`, after any
 * change of dependencies.
 *
 * npm 11 leaves an optional dependency out of the lock file when the registry that wrote it does not serve it (a mirror
 * that holds packages for its own platform, say), and then `npm ci` refuses that very lock file (npm issues 9342, 9846).
 * The entries added here have the exact version that the parent asks for, and os, cpu and libc read off the name, so that
 * each platform installs its own binary and skips the others.
 */
import fs from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(fs.readFileSync(file, 'utf8'));
const added = [];

for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key]?.version !== undefined) continue;
    const platform = platformOf(name);
    if (platform === undefined || !/^\d/.test(version)) {
      throw new Error(`cannot tell the platform of ${name}@${version}: add it to package-lock.json by hand`);
    }
    lock.packages[key] = { version, ...platform, ...(parent.dev ? { dev: true } : {}), optional: true };
    added.push(name);
  }
}

lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
fs.writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? 'nothing was missing' : `added ${added.length}: ${added.join(', ')}`);

function platformOf(name) {
  const found =
    /(aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32|wasm32)-?(arm64|arm|x64|ia32|loong64|mips64el|ppc64|riscv64|s390x|wasi)?(?:-(.+))?$/.exec(
      name,
    );
  if (name === 'fsevents') return { os: ['darwin'] };
  if (found === null) return undefined;
  const [, os, cpu, abi = ''] = found;
  if (os === 'wasm32') return { cpu: ['wasm32'] };
  const libc =
    os !== 'linux' ? undefined : abi.startsWith('musl') ? ['musl'] : abi.startsWith('gnu') ? ['glibc'] : undefined;
  return { cpu: [cpu], ...(libc ? { libc } : {}), os: [os] };
}
