// The clock of an open loop, in a thread of its own: tells the other thread when requests were due, and how many. No
// TypeScript, as threads do not inherit the loader.
import { parentPort, workerData } from 'node:worker_threads'

/** Requests that are due within so long, ms, are due together: a message for each would be a load of its own. */
const SLOT_MS = 1

const { perSecond } = workerData
const never = new Int32Array(new SharedArrayBuffer(4))
/** The same in all threads, unlike `performance.now`. */
const monotonicMs = () => Number(process.hrtime.bigint()) / 1e6

const slotMs = Math.max(SLOT_MS, 1000 / perSecond)
const startMs = monotonicMs()
let told = 0
for (let slot = 0; ; slot++) {
  const dueMs = startMs + slot * slotMs
  const waitMs = dueMs - monotonicMs()
  // Timers of the event loop are as coarse as a millisecond; this wait is not.
  if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs)
  const due = Math.round(((slot + 1) * slotMs * perSecond) / 1000)
  parentPort.postMessage({ dueMs, count: due - told })
  told = due
}
