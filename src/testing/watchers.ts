import { isKilovoltError } from '../base/errors.ts'
import { pause } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { Watch, WatchEvent } from '../node/watch.ts'
import type { Violation } from './checkers/violation.ts'
import type { SimNode } from './sim-node.ts'

/** What somebody who watches takes for the truth about a key. */
interface Known {
  readonly value: string | undefined
  /** Empty where nothing was ever seen. */
  readonly version: string
}

/** What one app follows, and the most events that may wait for it; default: as in production. */
export interface FollowerPlan {
  readonly key?: string
  readonly prefix?: string
  readonly buffer?: number
}

/** An app on one machine that keeps a copy of its keys by watching them, through the lives of its node. */
interface Follower {
  readonly plan: FollowerPlan
  readonly known: Map<string, Known>
  /** As the app has saved it with what it knows. */
  token: string | undefined
  /** Lists of all keys that are to be read before it knows everything; raised by each reset. */
  lists: number
  listed: number
  watch: Watch | undefined
}

/** What followers need. */
export interface WatchersDeps {
  readonly keys: readonly string[]
  /** By machine. */
  readonly planOf: (name: string) => FollowerPlan
}

const READ_MS = 2000
const RETRY_MS = 200

/** Draws what an app follows: everything, or the keys with a prefix, or one; in some cases with little room for what waits. */
export function drawFollower(random: Random, keys: readonly string[]): FollowerPlan {
  const room = random.chance(1, 2) ? { buffer: 4 } : {}
  const key = keys[random.int(keys.length)]!
  const kind = random.int(6)
  return { ...room, ...(kind === 0 ? { key } : kind === 1 ? { prefix: key.slice(0, -1) } : {}) }
}

/**
 * One app on each machine follows keys as the documentation says: it watches, lists, then goes by events; it saves the token
 * with what it knows and goes on from there in its node's next life, and lists no more: what came since it must be told. After a
 * reset it lists anew. What it is told must be in order and never twice, and in the end it must know the last value of every key.
 */
export class Watchers {
  readonly violations: Violation[] = []
  readonly #deps: WatchersDeps
  readonly #followers = new Map<string, Follower>()
  #resets = 0
  /** Those that were told to apps that have room. */
  #unasked = 0
  #events = 0

  constructor(deps: WatchersDeps) {
    this.#deps = deps
  }

  /** Events that were told, and how many of them were resets. */
  get told(): { readonly events: number; readonly resets: number } {
    return { events: this.#events, resets: this.#resets }
  }

  /** Keys that somebody knows of. */
  get known(): ReadonlySet<string> {
    return new Set([...this.#followers.values()].flatMap(({ known }) => [...known.keys()]))
  }

  /** What was told without need, where nothing has failed. */
  get quietProblem(): string | undefined {
    return this.#unasked === 0 ? undefined : `${this.#unasked} resets were told to apps that have read everything`
  }

  /** A node has come up. */
  add(node: SimNode): void {
    const { name } = node
    const follower = this.#followers.get(name) ?? {
      plan: this.#deps.planOf(name),
      known: new Map<string, Known>(),
      token: undefined,
      lists: 1,
      listed: 0,
      watch: undefined
    }
    this.#followers.set(name, follower)
    // Who has saved no token goes on from nowhere.
    if (follower.token === undefined) follower.lists = follower.listed + 1
    const watch = node.node.watch({ ...follower.plan, since: follower.token })
    follower.watch = watch
    void this.#follow(node, follower, watch)
  }

  /** What somebody does not know that reads have found; `undefined` when everybody knows everything. */
  problem(final: ReadonlyMap<string, string | undefined>): string | undefined {
    const listed = new Set(this.#deps.keys)
    for (const [name, { plan, known, ...follower }] of this.#followers) {
      if (follower.listed < follower.lists) return `${name} has not read all keys since its last reset`
      for (const [key, value] of final) {
        const seen = known.get(key)
        // Of keys that it does not list it need not know.
        if (!follows(plan, key) || (seen === undefined && !listed.has(key))) continue
        if (seen?.value !== value)
          return `${name} takes ${seen?.value} (${seen?.version}) for the value of ${key}, which is ${value}`
      }
    }
    return undefined
  }

  async #follow(node: SimNode, follower: Follower, watch: Watch): Promise<void> {
    const told = new Map<string, string>()
    void watch.ready.then(
      () => {
        if (follower.watch !== watch) return undefined
        follower.token ??= watch.token
        return follower.listed < follower.lists ? this.#list(node, follower, watch) : undefined
      },
      () => {}
    )
    try {
      for await (const event of watch) {
        if (follower.watch !== watch) return
        this.#events++
        if (event.type === 'reset') {
          this.#resets++
          if (follower.plan.buffer === undefined) this.#unasked++
          follower.known.clear()
          follower.lists++
          void this.#list(node, follower, watch)
        } else this.#take(node.name, follower, event, told)
        follower.token = event.token
      }
    } catch (error) {
      if (!isKilovoltError(error, 'KV_NODE_STOPPED')) throw error
    }
  }

  #take(
    name: string,
    { known }: Follower,
    event: Exclude<WatchEvent, { type: 'reset' }>,
    told: Map<string, string>
  ): void {
    const { key, type } = event
    const version = type === 'expire' ? `${event.version}x` : event.version
    const before = told.get(key)
    if (before !== undefined && version <= before) {
      const message = `${name} is told ${version} of ${key} after ${before}`
      this.violations.push({ rule: 'a watch tells rising versions of each key, and none twice', message })
    }
    told.set(key, version)
    learn(known, key, { value: event.type === 'put' ? (event.value as string) : undefined, version })
  }

  /** Reads every key, however long it takes. */
  async #list(node: SimNode, follower: Follower, watch: Watch): Promise<void> {
    const list = follower.lists
    for (const key of this.#deps.keys) {
      if (!follows(follower.plan, key)) continue
      const found = await this.#read(node, key)
      if (found === 'gone' || follower.watch !== watch || follower.lists !== list) return
      // Nothing has no version: what an event says is at least as new.
      if (found !== undefined) learn(follower.known, key, found)
      else if (!follower.known.has(key)) follower.known.set(key, { value: undefined, version: '' })
    }
    follower.listed = list
  }

  async #read(node: SimNode, key: string): Promise<Known | 'gone' | undefined> {
    for (;;) {
      try {
        return await node.get(key, 'quorum', READ_MS)
      } catch (error) {
        if (!isKilovoltError(error)) throw error
        if (error.code === 'KV_NODE_STOPPED' || !node.isUp) return 'gone'
        await pause(node.clock, RETRY_MS)
        if (!node.isUp) return 'gone'
      }
    }
  }
}

function follows({ key, prefix }: FollowerPlan, name: string): boolean {
  return key === undefined ? name.startsWith(prefix ?? '') : name === key
}

function learn(known: Map<string, Known>, key: string, seen: Known): void {
  const before = known.get(key)
  if (before === undefined || seen.version > before.version) known.set(key, seen)
}
