import { defineConfig } from 'tsdown';

// The core entry must stay free of Node imports: it is bundled for browsers by our users.
const library = {
  format: ['esm', 'cjs'] as ('esm' | 'cjs')[],
  dts: true,
  target: 'es2022',
  platform: 'neutral' as const,
  fixedExtension: false,
};

export default defineConfig([
  { ...library, entry: { index: 'src/index.ts' }, clean: true },
]);
