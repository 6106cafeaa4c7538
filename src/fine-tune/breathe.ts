/**
 * Lets everything else run that waits: signals, messages of other threads, a page's clicks and painting. A backend that
 * computes in this thread answers every `await` at once, so that without this a whole run would be one task.
 */
export function breathe(): Promise<void> {
  // Not requestAnimationFrame (`tf.nextFrame`), which stands still in a hidden tab; nor setTimeout, which browsers slow down.
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
