// The clock of an open loop, in a thread of its own: tells the other thread of each request when it was due. No TypeScript,
// as threads do not inherit the loader.
import { parentPort, workerData } from 'node:worker_threads'

const never = new Int32Array(new SharedArrayBuffer(4))
/** The same in all threads, unlike `performance.now`. */
const monotonicMs = () => Number(process.hrtime.bigint()) / 1e6

const startMs = monotonicMs()
for (let i = 0; ; i++) {
  const dueMs = startMs + (i * 1000) / workerData.perSecond
  const waitMs = dueMs - monotonicMs()
  // Timers of the event loop are as coarse as a millisecond; this wait is not.
  if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs)
  parentPort.postMessage(dueMs)
}
