import type { Clock } from '../../src/runtime/clock.ts'
import type { Random } from '../../src/runtime/random.ts'
import type { Host } from '../../src/transport/host.ts'

/** A host in a lab, with the clock of its process. */
export interface LabHost {
  readonly host: Host
  readonly clock: Clock
  readonly random: Random
  /** What keeps the process busy or alive; nothing after it has stopped. */
  leftovers(): readonly string[]
}

/** A network to try things on: real or simulated, told apart only by how one waits in it. */
export interface Lab {
  /** A new host that is not started; at the address of another one when that is given. */
  host(at?: LabHost): Promise<LabHost>
  /** Waits for a promise; fails after some seconds of the lab's time. */
  settle<T>(promise: Promise<T>): Promise<T>
  /** Waits until the condition holds; fails after some seconds of the lab's time. */
  until(condition: () => boolean, what: string): Promise<void>
  /** Lets some of the lab's time pass. */
  pass(ms: number): Promise<void>
  /** Stops every host. */
  close(): Promise<void>
}
