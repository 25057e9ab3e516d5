import { isKilovoltError } from '../base/errors.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import type { Random } from '../runtime/random.ts'
import type { Timer } from '../runtime/clock.ts'
import type { History, Operation } from './checkers/history.ts'

/** What clients do. Shares are whole numbers in proportion to each other. */
export interface WorkloadOptions {
  /** Number of clients; each has one operation under way at a time, or one burst. Default 6 */
  readonly clients?: number
  /** Number of keys they compete for. Default 12 */
  readonly keys?: number
  /** How many of a hundred steps are a burst: several operations at once, which nodes deal with together. Default 25 */
  readonly bursts?: number
  /** What the names of the keys, and of the clients, begin with. Default nothing */
  readonly prefix?: string
  /** Mean pause between two operations of a client, ms. Default 20 */
  readonly pauseMs?: number
  /** Deadline of an operation, ms. Default 2,000 */
  readonly timeoutMs?: number
  readonly puts?: number
  readonly gets?: number
  /** Deletions; only of every third key, as who reads nothing cannot tell which deletion it was. */
  readonly deletes?: number
  readonly one?: number
  readonly quorum?: number
  readonly all?: number
}

/** What one read of several found, or why it failed. */
export type ManyRead = { readonly value: string; readonly version: string } | Error | undefined

/** A node as a client sees it. */
export interface ClientTarget {
  get(key: string, level: ConsistencyLevel, timeoutMs: number): Promise<{ value: string; version: string } | undefined>
  put(key: string, value: string, level: ConsistencyLevel, timeoutMs: number): Promise<void>
  delete(key: string, level: ConsistencyLevel, timeoutMs: number): Promise<void>
  /** Reads of one call. */
  readMany(keys: readonly string[], level: ConsistencyLevel, timeoutMs: number): Promise<readonly ManyRead[]>
  /** Writes of one call, deletions where there is no value; why each failed, if it did. */
  writeMany(
    writes: readonly { readonly key: string; readonly value: string | undefined }[],
    level: ConsistencyLevel,
    timeoutMs: number
  ): Promise<readonly (Error | undefined)[]>
}

/** What a workload needs. */
export interface WorkloadDeps {
  readonly random: Random
  readonly history: History
  /** Virtual time of the world, which no fault touches. */
  readonly after: (delayMs: number, fn: () => void) => Timer
  /** The nodes that can be asked now. */
  readonly targets: () => readonly ClientTarget[]
}

/** Operations of a burst, at most. */
const BURST_MAX = 5

const DEFAULTS: Required<WorkloadOptions> = {
  clients: 6,
  keys: 12,
  bursts: 25,
  prefix: '',
  pauseMs: 20,
  timeoutMs: 2000,
  puts: 45,
  gets: 50,
  deletes: 5,
  one: 10,
  quorum: 85,
  all: 5
}

/** Codes of refusals that are certain to have had no effect. */
const WITHOUT_EFFECT: readonly string[] = ['KV_NOT_JOINED', 'KV_KEY_TOO_LARGE', 'KV_VALUE_TOO_LARGE', 'KV_CONFIG']

/** What an operation is to do. */
type Start = Pick<Operation, 'client' | 'kind' | 'key' | 'level'>

/** An operation under way, and who waits for it. */
interface Call {
  readonly target: ClientTarget
  readonly operation: Operation
  readonly next: () => void
}

/** Clients that read and write without end, each from whichever node it happens to ask. */
export class Workload {
  readonly options: Required<WorkloadOptions>
  readonly #deps: WorkloadDeps
  readonly #calls = new Set<Call>()
  #value = 0
  #stopped = false

  constructor(deps: WorkloadDeps, options: WorkloadOptions = {}) {
    this.#deps = deps
    this.options = { ...DEFAULTS, ...options }
  }

  /** All keys there are. */
  get keys(): readonly string[] {
    return Array.from({ length: this.options.keys }, (_, i) => this.#keyName(i))
  }

  /** Operations under way. */
  get pending(): number {
    return this.#calls.size
  }

  /** Operations under way at one node. */
  pendingAt(target: ClientTarget): number {
    return [...this.#calls].filter(call => call.target === target).length
  }

  start(): void {
    for (let i = 0; i < this.options.clients; i++) this.#pause(`${this.options.prefix}c${i}`)
  }

  /** No operation begins any more. */
  stop(): void {
    this.#stopped = true
  }

  /** A node is gone: whoever waits for it will never know, and goes on with another. */
  abandon(target: ClientTarget): void {
    for (const call of this.#calls) {
      if (call.target !== target) continue
      this.#calls.delete(call)
      call.next()
    }
  }

  #pause(client: string): void {
    if (this.#stopped) return
    const { random, after } = this.#deps
    after(random.int(2 * this.options.pauseMs + 1), () => this.#step(client))
  }

  #step(client: string): void {
    const { random, targets } = this.#deps
    const up = targets()
    if (this.#stopped || up.length === 0) return this.#pause(client)
    const target = up[random.int(up.length)]!
    const count = random.int(100) < this.options.bursts ? 2 + random.int(BURST_MAX - 1) : 1
    let left = count
    const next = (): void => {
      if (--left === 0) this.#pause(client)
    }
    const starts = Array.from({ length: count }, (_, i) => this.#draw(count === 1 ? client : `${client}.${i}`))
    if (count > 1 && random.int(3) === 0) {
      const together = ofOneCall(starts)
      left = together.length
      void this.#runMany(together, target, next)
    } else for (const start of starts) void this.#run(start, target, next)
  }

  #draw(client: string): Start {
    const { random } = this.#deps
    const { puts, gets, deletes, one, quorum, all } = this.options
    const number = random.int(this.options.keys)
    const kinds = ['get', 'put', 'delete'] as const
    const kind = kinds[pick(random, [gets, puts, number % 3 === 0 ? deletes : 0])]!
    const level = (['one', 'quorum', 'all'] as const)[pick(random, [one, quorum, all])]!
    return { client, kind, key: this.#keyName(number), level }
  }

  #keyName(number: number): string {
    return `${this.options.prefix}key-${number}`
  }

  #begin(start: Start, target: ClientTarget, next: () => void): Call {
    const value = String(this.#value++)
    const operation = this.#deps.history.begin(start.kind === 'put' ? { ...start, value } : start)
    const call: Call = { target, operation, next }
    this.#calls.add(call)
    return call
  }

  async #run(start: Start, target: ClientTarget, next: () => void): Promise<void> {
    const { timeoutMs } = this.options
    const { kind, key, level } = start
    const call = this.#begin(start, target, next)
    try {
      if (kind === 'get') return this.#end(call, await target.get(key, level, timeoutMs))
      const { value } = call.operation
      await (kind === 'put' ? target.put(key, value!, level, timeoutMs) : target.delete(key, level, timeoutMs))
      this.#end(call, undefined)
    } catch (error) {
      this.#end(call, error as Error)
    }
  }

  /** Operations of one call: all of them read, or all of them write. */
  async #runMany(starts: readonly Start[], target: ClientTarget, next: () => void): Promise<void> {
    const { timeoutMs } = this.options
    const { kind, level } = starts[0]!
    const keys = starts.map(({ key }) => key)
    const calls = starts.map(start => this.#begin(start, target, next))
    const writes = calls.map(({ operation }) => ({ key: operation.key, value: valueOf(operation) }))
    let results: readonly ManyRead[]
    try {
      results = await (kind === 'get'
        ? target.readMany(keys, level, timeoutMs)
        : target.writeMany(writes, level, timeoutMs))
    } catch (error) {
      results = calls.map(() => error as Error)
    }
    for (const [i, call] of calls.entries()) this.#end(call, results[i])
  }

  /** Notes what has come of an operation, unless nobody waits for it any more. */
  #end(call: Call, result: ManyRead): void {
    const { history } = this.#deps
    const { operation } = call
    if (result instanceof Error && !isKilovoltError(result)) throw result
    if (!this.#calls.delete(call)) return
    if (result instanceof Error) {
      history.refused(operation, WITHOUT_EFFECT.includes(result.code) ? 'failed' : 'unknown')
    } else if (operation.kind === 'get') history.returned(operation, result?.value, result?.version)
    else history.acknowledged(operation)
    call.next()
  }
}

/** Those that can be one call with the first: of its kind, reading or writing, each of another key. */
function ofOneCall(starts: readonly Start[]): readonly Start[] {
  const { kind, level } = starts[0]!
  const byKey = new Map<string, Start>()
  for (const start of starts) {
    if ((start.kind === 'get') === (kind === 'get') && !byKey.has(start.key)) byKey.set(start.key, { ...start, level })
  }
  return [...byKey.values()]
}

function valueOf({ kind, value }: Operation): string | undefined {
  return kind === 'put' ? value : undefined
}

/** Index drawn with the given shares. */
function pick(random: Random, shares: readonly number[]): number {
  let at = random.int(shares.reduce((sum, share) => sum + share, 0))
  for (let i = 0; i < shares.length; i++) {
    if (at < shares[i]!) return i
    at -= shares[i]!
  }
  return 0
}
