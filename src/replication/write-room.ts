import { abortError, onAbort } from '../base/abort.ts'
import { KilovoltError } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { Clock } from '../runtime/clock.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'

/** What the room for writes needs. */
export interface WriteRoomDeps {
  readonly clock: Pick<Clock, 'monotonicMs' | 'soon'>
  readonly wheel: TimerWheel
  /** What a stop ends. */
  readonly running: Set<{ cancel(error: KilovoltError): void }>
  /** Told of each write by itself that is refused here; returns what it is to fail with. */
  readonly failed: (error: unknown) => unknown
}

/** Bounds of the room. */
export interface WriteRoomOptions {
  /** Bytes that are under way at once. */
  readonly bytesMax?: number
  /** Bytes that wait at once. */
  readonly waitingBytesMax?: number
}

/** A write, or several that go together, before it is sent. */
export interface Entrant {
  readonly bytes: number
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** Whether an earlier attempt may have been executed already. Default false. */
  readonly isRepeat?: boolean | undefined
  /** Whether it takes no more memory when it waits, as a part of a call that holds it anyway. Default false. */
  readonly isHeld?: boolean | undefined
  /** It goes, in the time that is left; what it is given is to be called when it has ended. */
  readonly go: (leftMs: number, leave: () => void) => void
  /** It does not go: nothing of it was sent. */
  readonly refused: (error: KilovoltError) => void
}

const MIB = 1024 * 1024
/**
 * A replica takes 64 MiB of writes that it has not stored yet, and a link as much. Each key has three copies, so that even when
 * every node of a cluster writes as much as this at once a replica has three times as much before it, as a rule. It is as
 * much as one value may have, and what is small waits no longer behind it on the links: more makes nothing faster.
 */
const BYTES_MAX = 8 * MIB
const WAITING_BYTES_MAX = 256 * MIB
const WAITING_MAX = 65_536
/** What is smaller does not come here: it neither waits behind what is large, nor costs the look. */
export const ROOM_FROM_BYTES: number = 64 * 1024

/**
 * Holds back large writes of a coordinator that its links and replicas could not take yet, in their order and each no longer
 * than its deadline: without it a burst of them would be refused where it is to be stored. What is small goes past it.
 */
export class WriteRoom {
  readonly #deps: WriteRoomDeps
  readonly #bytesMax: number
  readonly #waitingBytesMax: number
  readonly #queue = new BoundedQueue<Waiting>(WAITING_MAX)
  #bytes = 0
  /** How long one takes at least, by what has ended, ms: one that took long may have come at a bad time. */
  #tookMs = 0
  #waitingBytes = 0
  #waiting = 0

  constructor(deps: WriteRoomDeps, options: WriteRoomOptions = {}) {
    this.#deps = deps
    this.#bytesMax = options.bytesMax ?? BYTES_MAX
    this.#waitingBytesMax = options.waitingBytesMax ?? WAITING_BYTES_MAX
  }

  /** Lets it go now, or when it is its turn. Returns what ends the wait, when there is one. */
  enter(entrant: Entrant): { cancel(error: KilovoltError): void } | undefined {
    const { bytes, timeoutMs, isHeld = false } = entrant
    if (this.#waiting === 0 && this.#hasRoom(bytes)) {
      this.#go(entrant, timeoutMs)
      return undefined
    }
    const { clock, wheel, running } = this.#deps
    const heldBytes = isHeld ? 0 : bytes
    const isFull = this.#waitingBytes > 0 && this.#waitingBytes + heldBytes > this.#waitingBytesMax
    const waiting = new Waiting(entrant, clock, {
      overloaded: isLate => this.#overloaded(entrant, isLate),
      over: () => {
        this.#waiting--
        this.#waitingBytes -= heldBytes
        wheel.cancel(waiting)
        running.delete(waiting)
      }
    })
    if (isFull || !this.#queue.push(waiting)) {
      // Who calls again at once, whatever happens, would keep the event loop to itself.
      clock.soon(() => entrant.refused(this.#overloaded(entrant, false)))
      return undefined
    }
    this.#waiting++
    this.#waitingBytes += heldBytes
    running.add(waiting)
    wheel.add(waiting, timeoutMs)
    waiting.heed()
    return waiting
  }

  /** Runs one write in its turn. */
  run<T>(options: Omit<Entrant, 'go' | 'refused'>, write: (leftMs: number) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const go = (leftMs: number, leave: () => void): void => resolve(write(leftMs).finally(leave))
      this.enter({ ...options, go, refused: error => reject(this.#deps.failed(error)) })
    })
  }

  #go(entrant: Entrant, leftMs: number): void {
    const { clock } = this.#deps
    const { bytes } = entrant
    const beganMs = clock.monotonicMs()
    this.#bytes += bytes
    entrant.go(leftMs, () => {
      this.#bytes -= bytes
      const tookMs = clock.monotonicMs() - beganMs
      this.#tookMs = Math.min(tookMs, this.#tookMs + tookMs / 8)
      this.#admit()
    })
  }

  #admit(): void {
    while (this.#waiting > 0) {
      const next = this.#next()
      if (next === undefined) return
      const { leftMs, entrant } = next
      next.end()
      // What would not end in time does not begin: whoever called knows then that it was not stored.
      if (leftMs > this.#tookMs) this.#go(entrant, leftMs)
      else entrant.refused(this.#overloaded(entrant, true))
    }
  }

  /** The first that waits yet, taken out if there is room for it. */
  #next(): Waiting | undefined {
    for (;;) {
      const first = this.#queue.peek()
      if (first === undefined || (!first.isOver && !this.#hasRoom(first.entrant.bytes))) return undefined
      this.#queue.shift()
      if (!first.isOver) return first
    }
  }

  /** What is larger than all the room goes by itself. */
  #hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax
  }

  #overloaded({ bytes, timeoutMs, isRepeat = false }: Entrant, isLate: boolean): KilovoltError {
    const before = `${this.#bytes} bytes of large writes of this node were under way and ${this.#waitingBytes} waited`
    const why = isLate ? `it was not its turn within ${timeoutMs} ms` : 'no more of them wait'
    const sent = isRepeat ? '' : ': nothing of it was sent'
    return new KilovoltError('KV_OVERLOADED', `${before} when one of ${bytes} came or gave up, and ${why}${sent}`, {
      retryable: !isRepeat,
      details: {
        bytes,
        underWayBytes: this.#bytes,
        waitingBytes: this.#waitingBytes,
        outcome: isRepeat ? 'unknown' : 'not-executed'
      }
    })
  }
}

/** What waiting in line tells. */
interface WaitingEvents {
  readonly overloaded: (isLate: boolean) => KilovoltError
  /** Called once, when it does not wait any more. */
  readonly over: () => void
}

/** A write that waits for its turn. */
class Waiting extends Deadline {
  readonly entrant: Entrant
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #events: WaitingEvents
  readonly #deadlineMs: number
  #forgetAbort: () => void = () => {}
  #isOver = false

  constructor(entrant: Entrant, clock: Pick<Clock, 'monotonicMs'>, events: WaitingEvents) {
    super()
    this.entrant = entrant
    this.#clock = clock
    this.#events = events
    this.#deadlineMs = clock.monotonicMs() + entrant.timeoutMs
  }

  get leftMs(): number {
    return Math.max(1, Math.ceil(this.#deadlineMs - this.#clock.monotonicMs()))
  }

  get isOver(): boolean {
    return this.#isOver
  }

  heed(): void {
    const { signal } = this.entrant
    const forget = onAbort(signal, () => this.cancel(abortError(signal!, 'a write')))
    if (this.#isOver) forget()
    else this.#forgetAbort = forget
  }

  override expire(): void {
    this.cancel(this.#events.overloaded(true))
  }

  cancel(error: KilovoltError): void {
    if (this.#isOver) return
    this.end()
    this.entrant.refused(error)
  }

  end(): void {
    this.#isOver = true
    this.#forgetAbort()
    this.#events.over()
  }
}
