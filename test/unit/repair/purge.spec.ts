import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import type { Hash64 } from '../../../src/model/partition.ts'
import type { NodeConfig } from '../../../src/node/node-core.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { purgeProblem, restProblem } from '../../../src/testing/at-rest.ts'
import { SimCluster } from '../../../src/testing/sim-cluster.ts'
import type { SimNode } from '../../../src/testing/sim-node.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const PATIENCE_MS = 60_000
const KEYS = Array.from({ length: 30 }, (_, i) => `k${i}`)

/** Four nodes on disk that settle the past every half second, a fifth of a second behind the present. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly cluster: SimCluster

  constructor(hash: Hash64) {
    this.cluster = new SimCluster({ world: this.world, hash })
  }

  async start(names: readonly string[], config: Partial<NodeConfig> = {}): Promise<void> {
    for (const name of names) {
      this.cluster.add({
        machine: { name, disk: { permanent: true } },
        config: { partitions: 64, evictAfterMs: 2000, purgeIntervalMs: 500, purgeLagMs: 200, ...config }
      })
      this.cluster.start(name)
    }
    await this.settled(names)
  }

  settled(names: readonly string[]): Promise<void> {
    return this.until('all are settled', () => {
      const running = names.flatMap(name => this.cluster.node(name) ?? [])
      return restProblem(running, names) === undefined
    })
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const endMs = this.world.nowMs + PATIENCE_MS
    while (!condition()) {
      assert.ok(this.world.nowMs < endMs, `${what}: not within ${PATIENCE_MS} ms`)
      await this.world.advance(50)
    }
  }

  node(name: string): SimNode {
    return this.cluster.node(name)!
  }

  async put(name: string, keys: readonly string[], value: string): Promise<void> {
    for (const key of keys) await this.world.settle(this.node(name).put(key, value, 'quorum', 5000))
  }

  async delete(name: string, keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.world.settle(this.node(name).delete(key, 'quorum', 5000))
  }

  async read(name: string, key: string): Promise<string | undefined> {
    return (await this.world.settle(this.node(name).get(key, 'quorum', 5000)))?.value
  }

  /** Records, tombstones included, of all nodes. */
  get held(): number {
    let count = 0
    for (const { core } of this.cluster.nodes) for (let p = 0; p < 64; p++) count += core.trees.treeOf(p)?.count ?? 0
    return count
  }
}

describe('purging', function () {
  this.timeout(60_000)
  let hash: Hash64
  let bench: Bench
  const names = ['a', 'b', 'c', 'd']

  before(async () => {
    hash = await loadHash64()
  })

  beforeEach(() => {
    bench = new Bench(hash)
  })

  it('leaves nothing of what was deleted, and all of what was not', async () => {
    await bench.start(names)
    await bench.put('a', KEYS, 'x')
    await bench.delete('b', KEYS.slice(0, 20))
    assert.ok(bench.held >= 60)
    await bench.until('all of it is gone', () => bench.held === 30 && purgeProblem(bench.cluster.nodes) === undefined)
    for (const [i, key] of KEYS.entries()) assert.equal(await bench.read('c', key), i < 20 ? undefined : 'x', key)
    await bench.put('d', KEYS, 'again')
    for (const key of KEYS) assert.equal(await bench.read('a', key), 'again', key)
  })

  it('leaves nothing of what has expired, at any time, and tells how much of it there was', async () => {
    await bench.start(names)
    const { node } = bench.node('a')
    await bench.world.settle(
      Promise.all(KEYS.map((key, i) => node.put(key, 'x', i < 20 ? { ttl: 100 + 50 * i } : { ttl: 1e10 })))
    )
    await bench.world.settle(node.delete('k29'))
    const swept = (): number => bench.cluster.nodes.reduce((sum, { core }) => sum + core.status().purge.expired, 0)
    await bench.until('what has expired is gone', () => bench.held === 27)
    assert.equal(swept(), 60)
    assert.equal(bench.cluster.nodes.reduce((sum, { core }) => sum + core.status().purge.purged, 0) - swept(), 3)
    for (const [i, key] of KEYS.entries())
      assert.equal(await bench.read('b', key), i < 20 || i === 29 ? undefined : 'x', key)
  })

  it('does not let a copy that lags bring back what the expired value has replaced', async () => {
    await bench.start(names, { evictAfterMs: 60_000 })
    await bench.put('a', KEYS, 'old')
    bench.cluster.crash('d')
    const { node } = bench.node('a')
    await bench.world.settle(Promise.all(KEYS.map(key => node.put(key, 'new', { ttl: 300, timeoutMs: 5000 }))))
    await bench.world.advance(400)
    for (const key of KEYS) assert.equal(await bench.read('b', key), undefined)
    bench.cluster.start('d')
    await bench.settled(names)
    for (const key of KEYS) assert.equal(await bench.read('d', key), undefined, key)
    await bench.until('all of it is gone', () => bench.held === 0)
    for (const key of KEYS) assert.equal(await bench.read('d', key), undefined, key)
  })

  it('waits for a member that is away, and says for whom', async () => {
    await bench.start(names)
    await bench.put('a', KEYS, 'x')
    const { storeId } = bench.node('d').core
    bench.cluster.crash('d')
    await bench.until('it is missed', () => bench.node('a').core.membership.statusOf(storeId) === 'dead')
    await bench.delete('a', KEYS)
    await bench.until('all of it is rebuilt without it', () => {
      const rows = bench.node('a').core.cluster.topology!.rows
      return rows.every(({ slots, change }) => change === undefined && !slots.includes(storeId))
    })
    await bench.world.advance(10_000)
    const waiting = ['a', 'b', 'c'].flatMap(name => bench.node(name).core.status().purge.blockedBy)
    assert.deepEqual([...new Set(waiting)], [storeId])
    assert.ok(bench.held >= 60, 'all tombstones are there: it may bring back what they deleted')
    bench.cluster.start('d')
    await bench.settled(names)
    await bench.until('all of it is gone', () => bench.held === 0 && purgeProblem(bench.cluster.nodes) === undefined)
    for (const key of KEYS) assert.equal(await bench.read('d', key), undefined, key)
  })

  it('sets aside what a member brings back that was away for too long to tell', async () => {
    await bench.start(names, { gcGraceMs: 1000 })
    await bench.put('a', KEYS, 'x')
    const { storeId } = bench.node('d').core
    bench.cluster.crash('d')
    await bench.until('it is forgotten', () => !bench.node('a').core.cluster.topology!.members.has(storeId))
    await bench.delete('a', KEYS.slice(0, 20))
    await bench.put('a', KEYS.slice(20), 'y')
    await bench.until('all of it is gone', () => bench.held === 30 && purgeProblem(bench.cluster.nodes) === undefined)
    bench.cluster.start('d')
    await bench.settled(names)
    for (const [i, key] of KEYS.entries()) assert.equal(await bench.read('d', key), i < 20 ? undefined : 'y', key)
    const { node, core } = bench.node('d')
    assert.equal(core.storeId, storeId)
    const aside: string[] = []
    const list = async (): Promise<void> => {
      for await (const { keyspace, key, value } of node.setAside())
        aside.push(`${keyspace}${fromUtf8(key)} ${fromUtf8(value!)}`)
    }
    await bench.world.settle(list())
    const deleted = new Set(KEYS.slice(0, 20).map(key => `${key} "x"`))
    assert.ok(aside.length > 0, 'it held some of what was deleted')
    for (const entry of aside) assert.ok(deleted.has(entry), entry)
    assert.equal(node.status().purge.setAside, aside.length)
    await bench.world.settle(node.discardSetAside())
    assert.equal(node.status().purge.setAside, 0)
  })

  it('shows nothing of the values of what was set aside that have expired', async () => {
    await bench.start(names, { gcGraceMs: 1000 })
    const write = (ttl: number): Promise<unknown> =>
      Promise.all(
        KEYS.map((key, i) =>
          bench.node('a').node.put(`${i < 15 ? 'short' : 'long'}-${key}`, 'x', { ttl: i < 15 ? ttl : 1e10 })
        )
      )
    await bench.world.settle(write(300_000))
    const { storeId } = bench.node('d').core
    bench.cluster.crash('d')
    await bench.until('it is forgotten', () => !bench.node('a').core.cluster.topology!.members.has(storeId))
    for (const [i, key] of KEYS.entries()) await bench.delete('a', [`${i < 15 ? 'short' : 'long'}-${key}`])
    await bench.until('all of it is gone', () => bench.held === 0)
    bench.cluster.start('d')
    await bench.settled(names)
    assert.ok(bench.world.nowMs < 300_000, 'it is set aside before it expires')
    await bench.world.advance(300_000)
    const seen = { short: 0, long: 0 }
    const list = async (): Promise<void> => {
      for await (const { key, value, expiresAt } of bench.node('d').node.setAside()) {
        const isShort = fromUtf8(key).startsWith('short')
        assert.ok(expiresAt !== undefined)
        assert.equal(value === undefined, isShort, fromUtf8(key))
        seen[isShort ? 'short' : 'long']++
      }
    }
    await bench.world.settle(list())
    assert.ok(seen.short > 0 && seen.long > 0, JSON.stringify(seen))
  })

  it('takes back what a member wrote alone while it was cut off, if nobody has written it since', async () => {
    await bench.start(names, { repairIntervalMs: 2000 })
    await bench.put('a', KEYS, 'x')
    bench.cluster.network.split([['a', 'b', 'c'], ['d']])
    const { core } = bench.node('d')
    const alone: string[] = []
    for (const key of KEYS) {
      const partition = core.ring.partitionOf(utf8(key))
      if (!core.cluster.topology!.rows[partition]!.slots.includes(core.storeId)) continue
      await bench.world.settle(bench.node('d').put(key, 'alone', 'one', 5000))
      alone.push(key)
    }
    assert.ok(alone.length > 5)
    await bench.until('it owns nothing any more', () => {
      const rows = bench.node('a').core.cluster.topology!.rows
      return rows.every(({ slots, change }) => change === undefined && !slots.includes(core.storeId))
    })
    bench.cluster.network.heal()
    await bench.settled(names)
    await bench.until('it has given everything back', () => bench.node('d').core.cluster.strays?.size === 0)
    for (const key of KEYS) assert.equal(await bench.read('a', key), alone.includes(key) ? 'alone' : 'x', key)
  })

  it('does nothing when it is told never to', async () => {
    await bench.start(names, { purgeIntervalMs: Infinity })
    await bench.put('a', KEYS, 'x')
    await bench.delete('a', KEYS)
    await bench.world.advance(20_000)
    assert.ok(bench.held >= 60)
  })
})
