import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { Random } from '../runtime/random.ts'
import type { Timer } from '../runtime/clock.ts'
import type { Node } from '../node/node.ts'
import type { Violation } from './checkers/violation.ts'
import type { SimNode } from './sim-node.ts'

/** What it needs. */
export interface TaggedScansDeps {
  readonly random: Random
  /** Virtual time of the world, which no fault touches. */
  readonly after: (delayMs: number, fn: () => void) => Timer
  /** The nodes that can be asked now. */
  readonly nodes: () => readonly SimNode[]
  /** Mean pause between two calls of a client, and deadline of a call, ms. */
  readonly pauseMs: number
  readonly timeoutMs: number
}

/** The keys of one round: who else could know of them does not touch them. */
interface Round {
  readonly prefix: string
  /** Each that was put, whatever came of it. */
  readonly tried: string[]
  /** How many of them have a value at least, */
  least: number
  /** and at most. */
  most: number
  /** Puts whose outcome is not known: they may take effect at any time. */
  unknown: number
}

/** A call at one node. */
interface Call {
  readonly node: SimNode
  readonly isOver: Deferred<'gone'>
}

const CLIENTS = 2
const KEYS_MAX = 12
const GONE = Symbol('gone')

/**
 * Clients that write keys of a hash tag that is theirs alone, and count, list and clear them from whichever node they happen to
 * ask. As nobody else writes them, and each client has one call under way, it is known how many there must be: what a call that
 * has failed may have done is all that is uncertain.
 */
export class TaggedScans {
  readonly violations: Violation[] = []
  readonly #deps: TaggedScansDeps
  readonly #calls = new Set<Call>()
  #stopped = false

  constructor(deps: TaggedScansDeps) {
    this.#deps = deps
  }

  start(): void {
    for (let i = 0; i < CLIENTS; i++) void this.#run(`t${i}`)
  }

  /** What is under way is given up. */
  stop(): void {
    this.#stopped = true
    for (const { isOver } of this.#calls) isOver.resolve('gone')
  }

  /** A node is gone: whoever waits for it will never know. */
  abandon(node: SimNode): void {
    for (const call of this.#calls) if (call.node === node) call.isOver.resolve('gone')
  }

  async #run(client: string): Promise<void> {
    const { random } = this.#deps
    for (let number = 0; !this.#stopped; number++) {
      const round: Round = { prefix: `{${client}.${number}}`, tried: [], least: 0, most: 0, unknown: 0 }
      for (let left = 1 + random.int(KEYS_MAX); left > 0; left--) await this.#put(round)
      await this.#count(round)
      await this.#list(round)
      await this.#clear(round, random.chance(1, 2) ? 1 + random.int(KEYS_MAX) : Infinity)
      await this.#count(round)
      await this.#list(round)
    }
  }

  async #put(round: Round): Promise<void> {
    const { timeoutMs } = this.#deps
    const key = `${round.prefix}${String(round.tried.length).padStart(2, '0')}`
    round.tried.push(key)
    round.most++
    const done = await this.#call(node => node.put(key, 'here', { consistency: 'quorum', timeoutMs }))
    if (done === GONE) round.unknown++
    else round.least++
  }

  async #count({ prefix, least, most }: Round): Promise<void> {
    const { timeoutMs } = this.#deps
    const count = await this.#call(node => node.count({ prefix, consistency: 'quorum', timeoutMs }))
    if (count === GONE || (count >= least && count <= most)) return
    this.#report(`${count} keys begin with ${prefix}, and it must be ${least} to ${most}`)
  }

  async #list({ prefix, tried, least, most }: Round): Promise<void> {
    const { random, timeoutMs } = this.#deps
    const reverse = random.chance(1, 2)
    const limit = random.chance(1, 2) ? 1 + random.int(KEYS_MAX) : KEYS_MAX
    const pageSize = 1 + random.int(KEYS_MAX)
    const keys = await this.#call(node =>
      node.keys({ prefix, reverse, limit, pageSize, consistency: 'quorum', timeoutMs }).all()
    )
    if (keys === GONE) return
    const inOrder = (reverse ? tried.toReversed() : tried).filter(key => keys.includes(key))
    const isRight = keys.length >= Math.min(limit, least) && keys.length <= Math.min(limit, most)
    if (isRight && keys.length === inOrder.length && keys.every((key, i) => key === inOrder[i])) return
    this.#report(`${limit} at most of ${least} to ${most} keys with ${prefix} are ${keys.join()}`)
  }

  async #clear(round: Round, limit: number): Promise<void> {
    const { timeoutMs } = this.#deps
    const { prefix, most } = round
    const deleted = await this.#call(node => node.clear({ prefix, limit, consistency: 'quorum', timeoutMs }))
    if (deleted !== GONE && deleted > Math.min(limit, most))
      this.#report(`${deleted} of at most ${Math.min(limit, most)} keys with ${prefix} were deleted`)
    round.least = deleted === GONE ? 0 : Math.max(0, round.least - limit)
    if (deleted !== GONE && limit === Infinity) round.most = round.unknown
  }

  /** A call at some node, after a pause; what has failed may have been done all the same. */
  async #call<T>(call: (node: Node) => Promise<T>): Promise<T | typeof GONE> {
    const { random, nodes } = this.#deps
    await this.#pause()
    const up = nodes()
    if (this.#stopped || up.length === 0) return GONE
    const node = up[random.int(up.length)]!
    const under: Call = { node, isOver: createDeferred<'gone'>() }
    this.#calls.add(under)
    try {
      const over = under.isOver.promise.then((): typeof GONE => GONE)
      if ((await Promise.race([node.turn(), over])) === GONE || !node.isUp) return GONE
      return await Promise.race([call(node.node), over])
    } catch (error) {
      if (!isKilovoltError(error)) throw error
      return GONE
    } finally {
      this.#calls.delete(under)
    }
  }

  #pause(): Promise<void> {
    const { random, after, pauseMs } = this.#deps
    return new Promise(resolve => {
      after(random.int(2 * pauseMs + 1), resolve)
    })
  }

  #report(message: string): void {
    this.violations.push({ rule: 'counts, lists and clearings of keys that nobody else writes are exact', message })
  }
}
