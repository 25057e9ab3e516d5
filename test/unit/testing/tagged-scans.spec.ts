import assert from 'node:assert/strict'
import type { SimNode } from '../../../src/testing/sim-node.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { TaggedScans } from '../../../src/testing/tagged-scans.ts'

interface Asked {
  readonly prefix: string
  readonly limit?: number
  readonly reverse?: boolean
}

/** A node that keeps everything in a set. */
class Store {
  readonly keysHeld = new Set<string>()
  calls = 0

  put(key: string): Promise<void> {
    this.calls++
    this.keysHeld.add(key)
    return Promise.resolve()
  }

  held({ prefix, limit = Infinity, reverse = false }: Asked): string[] {
    this.calls++
    const keys = [...this.keysHeld].filter(key => key.startsWith(prefix)).toSorted()
    return (reverse ? keys.toReversed() : keys).slice(0, limit)
  }

  count(asked: Asked): Promise<number> {
    return Promise.resolve(this.held(asked).length)
  }

  keys(asked: Asked): { all(): Promise<string[]> } {
    return { all: () => Promise.resolve(this.held(asked)) }
  }

  clear(asked: Asked): Promise<number> {
    const keys = this.held(asked)
    for (const key of keys) this.keysHeld.delete(key)
    return Promise.resolve(keys.length)
  }
}

/** Goal: what counts, lists or clears wrongly is seen. */
describe('clients that scan keys of their own', () => {
  async function violations(store: Store): Promise<number> {
    const world = new SimWorld({ seed: 3 })
    const node = { node: store, isUp: true, turn: () => Promise.resolve() } as unknown as SimNode
    const scans = new TaggedScans({
      random: world.random.fork('scans'),
      after: (delayMs, fn) => world.after(delayMs, fn),
      nodes: () => [node],
      pauseMs: 10,
      timeoutMs: 1000
    })
    scans.start()
    await world.advance(20_000)
    scans.stop()
    assert.ok(store.calls > 100, `${store.calls} calls`)
    return scans.violations.length
  }

  it('have nothing to say of a store that does as it should', async () => {
    assert.equal(await violations(new Store()), 0)
  })

  it('see a count that is too high, a list without a key or out of order, and what a clearing leaves', async () => {
    const count = new (class extends Store {
      override count(asked: Asked): Promise<number> {
        return Promise.resolve(this.held(asked).length + 1)
      }
    })()
    const list = new (class extends Store {
      override keys(asked: Asked): ReturnType<Store['keys']> {
        return { all: () => Promise.resolve(this.held(asked).slice(1)) }
      }
    })()
    const order = new (class extends Store {
      override keys(asked: Asked): ReturnType<Store['keys']> {
        return { all: () => Promise.resolve(this.held(asked).toReversed()) }
      }
    })()
    const clear = new (class extends Store {
      override clear(asked: Asked): Promise<number> {
        return Promise.resolve(this.held(asked).length)
      }
    })()
    for (const store of [count, list, order, clear]) assert.ok((await violations(store)) > 0)
  })
})
