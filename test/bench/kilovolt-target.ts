import type { Keyspace, Node } from 'kilovolt'
import type { Level } from './load.ts'
import type { Target } from './target.ts'

/** Bytes of values that a fill writes at once. */
const FILL_BYTES = 4 * 1024 * 1024
const FILL_KEYS_MAX = 1000
/** Made once: making options is the caller's cost. */
const OPTIONS = {
  one: { consistency: 'one' },
  quorum: { consistency: 'quorum' },
  all: { consistency: 'all' }
} as const satisfies Record<Level, object>

/** A node, by what its users call. */
export class KilovoltTarget implements Target {
  readonly #node: Node
  readonly #values: Keyspace<Uint8Array>

  constructor(node: Node, keyspace: string) {
    this.#node = node
    this.#values = node.keyspace<Uint8Array>(keyspace, { valueEncoding: 'view' })
  }

  async fill(keys: readonly string[], value: Uint8Array): Promise<void> {
    const atOnce = Math.min(FILL_KEYS_MAX, Math.max(1, Math.floor(FILL_BYTES / value.length)))
    for (let at = 0; at < keys.length; at += atOnce) await this.putMany(keys.slice(at, at + atOnce), value, 'all')
  }

  get(key: string, level: Level): Promise<unknown> {
    return this.#values.get(key, OPTIONS[level])
  }

  put(key: string, value: Uint8Array, level: Level): Promise<unknown> {
    return this.#values.put(key, value, OPTIONS[level])
  }

  getMany(keys: readonly string[], level: Level): Promise<unknown> {
    return this.#values.getMany(keys, OPTIONS[level])
  }

  putMany(keys: readonly string[], value: Uint8Array, level: Level): Promise<unknown> {
    return this.#values.batch(
      keys.map(key => ({ type: 'put', key, value })),
      OPTIONS[level]
    )
  }

  owns(key: string): boolean {
    return this.#node.ring.owners(key).includes(this.#node.id)
  }
}
