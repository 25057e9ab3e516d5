import { isKilovoltError } from '../base/errors.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import type { Timer } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { checkExpiry, TELLS, type TimedOperation } from './checkers/expiry.ts'
import type { Violation } from './checkers/violation.ts'
import type { SimNode } from './sim-node.ts'

/** What clients do whose values expire. */
export interface ExpiryWorkloadOptions {
  readonly clients: number
  /** Keys that are in use at a time; others take their place after {@link ExpiryWorkloadOptions.keysForMs}. */
  readonly keys: number
  readonly keysForMs: number
  /** Greatest time to live, ms. */
  readonly ttlMaxMs: number
  /** Mean pause between two operations of a client, ms. */
  readonly pauseMs: number
  readonly timeoutMs: number
  /** How far hybrid times may be ahead of all clocks, ms: none do but in nodes that were killed and have a disk. */
  readonly aheadMs: number
}

/** What it needs. */
export interface ExpiryWorkloadDeps {
  readonly random: Random
  /** Virtual time of the world, which no fault touches. */
  readonly nowMs: () => number
  readonly after: (delayMs: number, fn: () => void) => Timer
  /** The nodes that can be asked now. */
  readonly nodes: () => readonly SimNode[]
  /** What the clocks of all machines show now, Unix ms. */
  readonly wallsMs: () => readonly number[]
}

type Kind = TimedOperation['kind']

interface Call {
  readonly node: SimNode
  readonly operation: TimedOperation
  readonly beganMs: number
  readonly client: string
}

const KINDS: readonly Kind[] = [
  'put',
  'put',
  'put',
  'get',
  'get',
  'get',
  'get',
  'get',
  'get',
  'touch',
  'touch',
  'touch',
  'persist',
  'delete'
]
const READ_LEVELS: readonly ConsistencyLevel[] = ['one', 'quorum', 'quorum', 'all']
/** Codes of refusals that are certain to have had no effect. */
const WITHOUT_EFFECT: readonly string[] = ['KV_NOT_JOINED', 'KV_CONFIG']
/** Clocks run too fast by no more than this. */
const DRIFT = 1.02

/** Clients that write values which expire, extend them, and look at them in all ways, each from whichever node it happens to ask. */
export class ExpiryWorkload {
  readonly #deps: ExpiryWorkloadDeps
  readonly #options: ExpiryWorkloadOptions
  readonly #operations: TimedOperation[] = []
  readonly #calls = new Set<Call>()
  #place = 0
  #highest = -Infinity
  #stopped = false

  constructor(deps: ExpiryWorkloadDeps, options: ExpiryWorkloadOptions) {
    this.#deps = deps
    this.#options = options
  }

  get operations(): readonly TimedOperation[] {
    return this.#operations
  }

  get violations(): readonly Violation[] {
    return checkExpiry(this.#operations)
  }

  /** Operations under way. */
  get pending(): number {
    return this.#calls.size
  }

  start(): void {
    for (let i = 0; i < this.#options.clients; i++) this.#pause(`e${i}`)
  }

  stop(): void {
    this.#stopped = true
  }

  /** Looks at the clocks: before and after each is set, or what it has shown would not be known. */
  beforeFault(): void {
    this.#highest = Math.max(this.#highest, ...this.#deps.wallsMs())
  }

  /** A node is gone: whoever waits for it will never know, and goes on with another. */
  abandon(node: SimNode): void {
    this.beforeFault()
    for (const call of this.#calls) {
      if (call.node !== node) continue
      this.#calls.delete(call)
      call.operation.highest = this.#highest + this.#options.aheadMs
      this.#pause(call.client)
    }
  }

  #pause(client: string): void {
    if (this.#stopped) return
    this.#deps.after(this.#deps.random.int(2 * this.#options.pauseMs + 1), () => this.#step(client))
  }

  #step(client: string): void {
    const { random, nodes } = this.#deps
    const up = nodes()
    if (this.#stopped || up.length === 0) return this.#pause(client)
    const node = up[random.int(up.length)]!
    void this.#run(this.#begin(client, node))
  }

  #begin(client: string, node: SimNode): Call {
    const { random, nowMs, wallsMs } = this.#deps
    const { keys, keysForMs, ttlMaxMs } = this.#options
    this.beforeFault()
    const kind = KINDS[random.int(KINDS.length)]!
    const isEndless = kind === 'put' && random.int(8) === 0
    const ttl = 1 + random.int(random.int(4) === 0 ? 50 : ttlMaxMs)
    const place = this.#place++
    const operation: TimedOperation = {
      kind,
      key: `e-${Math.floor(nowMs() / keysForMs)}-${random.int(keys)}`,
      level: kind === 'get' ? READ_LEVELS[random.int(READ_LEVELS.length)]! : random.int(8) === 0 ? 'all' : 'quorum',
      // One read in two tells when the value expires.
      client: kind === 'get' && random.int(2) === 0 ? `${client}${TELLS}` : client,
      value: kind === 'put' ? `v${place}` : undefined,
      ttl: isEndless || (kind !== 'put' && kind !== 'touch') ? undefined : ttl,
      began: place,
      ended: undefined,
      outcome: 'unknown',
      told: undefined,
      found: undefined,
      expiresAt: undefined,
      low: node.clock.wallMs(),
      lowest: Math.min(...wallsMs()),
      highest: Infinity
    }
    this.#operations.push(operation)
    const call = { node, operation, beganMs: nowMs(), client }
    this.#calls.add(call)
    return call
  }

  async #run(call: Call): Promise<void> {
    const { node, operation } = call
    // A client's call waits for its process, which may stand still.
    await new Promise<void>(resolve => node.clock.arrive(0, resolve))
    try {
      await this.#perform(node, operation)
      this.#end(call, 'ok')
    } catch (error) {
      if (!isKilovoltError(error)) throw error
      this.#end(call, WITHOUT_EFFECT.includes(error.code) ? 'failed' : 'unknown')
    }
  }

  async #perform({ node }: SimNode, operation: TimedOperation): Promise<void> {
    const { kind, key, level, value, ttl, client } = operation
    const options = { consistency: level, timeoutMs: this.#options.timeoutMs }
    if (kind === 'put') await node.put(key, value, { ...options, ttl: ttl ?? Infinity })
    else if (kind === 'touch') operation.told = await node.touch(key, ttl, options)
    else if (kind === 'persist') operation.told = await node.persist(key, options)
    else if (kind === 'delete') operation.told = await node.delete(key, options)
    else if (client.endsWith(TELLS)) {
      const entry = await node.getEntry(key, options)
      operation.found = entry?.value as string | undefined
      operation.expiresAt = entry?.expiresAt
    } else operation.found = (await node.getMany([key], options))[0] as string | undefined
  }

  /** Notes what has come of an operation, unless nobody waits for it any more. */
  #end(call: Call, outcome: TimedOperation['outcome']): void {
    if (!this.#calls.delete(call)) return
    const { nowMs, wallsMs } = this.#deps
    const { operation, node } = call
    this.beforeFault()
    const tookMs = Math.ceil((nowMs() - call.beganMs) * DRIFT)
    operation.ended = this.#place++
    operation.outcome = outcome
    // The clock may have been set back meanwhile, and have gone on since.
    operation.low = Math.min(operation.low, node.clock.wallMs() - tookMs)
    operation.lowest = Math.min(operation.lowest, ...wallsMs().map(wall => wall - tookMs))
    operation.highest = this.#highest + this.#options.aheadMs
    this.#pause(call.client)
  }
}
