/** The child process of peers.test.ts: runs every spec of tfjs-core and writes what became of each. */
import './peers-harness';
import '@tensorflow/tfjs-core/dist/tests';
import fs from 'node:fs';
import { calls, env } from './peers-harness';

export interface Spec {
  name: string;
  /** pending: switched off in the spec file itself. */
  status: 'passed' | 'failed' | 'pending';
  messages: string[];
}

export interface Report {
  specs: Spec[];
  calls: Record<string, number>;
}

interface JasmineResult {
  fullName: string;
  status: Spec['status'];
  failedExpectations: { message: string }[];
}

const specs: Spec[] = [];
env.addReporter({
  specDone({ fullName, status, failedExpectations }: JasmineResult) {
    specs.push({ name: fullName, status, messages: failedExpectations.map(({ message }) => message.slice(0, 500)) });
  },
});
env.execute().then(() => {
  const report: Report = { specs, calls };
  fs.writeFileSync(process.env.REPORT!, JSON.stringify(report));
});
