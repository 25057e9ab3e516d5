import type { Keyspace, Node } from 'kilovolt'
import { documentsOf } from './documents.ts'
import type { Level } from './load.ts'
import type { Target } from './target.ts'

/** Keys that a fill writes at once. */
const FILL_KEYS = 500

/** A node, with real JSON in the place of the values that it is given: as it is, or compressed. */
export class DocumentTarget implements Target {
  readonly #values: Keyspace
  readonly #documents: readonly object[]
  #next = 0

  constructor(node: Node, valueBytes: number, compression: 'zstd' | false) {
    this.#values = node.keyspace(`documents of ${valueBytes} bytes, ${compression}`, { compression })
    this.#documents = documentsOf(valueBytes)
  }

  async fill(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += FILL_KEYS)
      await this.putMany(keys.slice(at, at + FILL_KEYS), undefined, 'all')
  }

  get(key: string, consistency: Level): Promise<unknown> {
    return this.#values.get(key, { consistency })
  }

  put(key: string, _value: unknown, consistency: Level): Promise<unknown> {
    return this.#values.put(key, this.#document(), { consistency })
  }

  getMany(keys: readonly string[], consistency: Level): Promise<unknown> {
    return this.#values.getMany(keys, { consistency })
  }

  putMany(keys: readonly string[], _value: unknown, consistency: Level): Promise<unknown> {
    return this.#values.batch(
      keys.map(key => ({ type: 'put', key, value: this.#document() })),
      { consistency }
    )
  }

  #document(): object {
    return this.#documents[this.#next++ % this.#documents.length]!
  }
}
