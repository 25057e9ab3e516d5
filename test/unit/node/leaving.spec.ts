import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { WriteOptions } from '../../../src/node/keyspace.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { pause } from '../../../src/runtime/clock.ts'
import { createTestCluster, type TestCluster } from '../../../src/testing/test-cluster.ts'
import { ClusterLab } from '../../support/cluster-lab.ts'

const ALONE = 0
const OTHERS = [1, 2, 3]
const KEYS = Array.from({ length: 200 }, (_, i) => `k${i}`)

describe('a node that leaves', () => {
  let cluster: TestCluster

  beforeEach(async () => {
    cluster = await createTestCluster(4, { seed: 3 })
  })

  afterEach(() => cluster.stop())

  /** Keys whose writes the node acknowledged that the others cannot reach. */
  async function writtenAlone(level: WriteOptions['consistency']): Promise<string[]> {
    const acknowledged: string[] = []
    for (const key of KEYS) {
      const put = cluster.node(ALONE).put(key, key, { consistency: level, timeoutMs: 500 })
      await cluster.run(put).then(
        () => acknowledged.push(key),
        () => {}
      )
    }
    assert.ok(acknowledged.length > 50, `${acknowledged.length} were acknowledged`)
    return acknowledged
  }

  /** At `all`: of a write at `one` no more is promised than that somebody has it. */
  async function missing(keys: readonly string[]): Promise<string[]> {
    await cluster.run(cluster.node(1).settled())
    const values = await cluster.run(cluster.node(1).getMany(keys, { consistency: 'all' }))
    return keys.filter((_, i) => values[i] === undefined)
  }

  for (const [level, awayMs] of [
    ['one', 3000],
    ['one', 40_000],
    ['any', 3000],
    ['any', 40_000]
  ] as const) {
    it(`takes along nothing that it took at ${level} while it was cut off for ${awayMs / 1000} s`, async () => {
      cluster.split([ALONE], OTHERS)
      await cluster.advance(200)
      const keys = await writtenAlone(level)
      await cluster.advance(awayMs)
      cluster.heal()
      await cluster.run(cluster.node(ALONE).leave({ timeoutMs: 60_000 }))
      assert.deepEqual(await missing(keys), [])
    })
  }

  it('says that a member is dead when it is not done in time, and how much it has yet', async () => {
    const dead = [2, 3].map(at => cluster.node(at).id).toSorted()
    cluster.crash(2)
    cluster.crash(3)
    await cluster.advance(8000)
    await assert.rejects(cluster.run(cluster.node(ALONE).leave({ timeoutMs: 3000 })), (error: unknown) => {
      assert.ok(isKilovoltError(error, 'KV_TIMEOUT') && error.retryable)
      assert.match(error.message, /the node stays and goes on\. Dead are /u)
      assert.deepEqual((error.details['dead'] as string[]).toSorted(), dead)
      assert.ok((error.details['partitions'] as number) > 0)
      return true
    })
  })

  it('is not to be stopped before the others have what it took while it was cut off', async () => {
    cluster.split([ALONE], OTHERS)
    await cluster.advance(200)
    const keys = await writtenAlone('one')
    await cluster.advance(3000)
    cluster.heal()
    const isSafe = (): boolean => cluster.node(ALONE).safeToStop().safe
    for (let waited = 0; !isSafe(); waited += 100) {
      assert.ok(waited < 60_000, cluster.node(ALONE).safeToStop().reasons.join())
      await cluster.advance(100)
    }
    cluster.crash(ALONE)
    await cluster.advance(40_000)
    assert.deepEqual(await missing(keys), [])
  })
})

describe('a node that leaves while requests come', () => {
  const NAMES = ['a', 'b', 'c']
  let lab: ClusterLab
  let requests: Promise<void>
  let over: AbortController

  beforeEach(async () => {
    lab = new ClusterLab(await loadHash64())
    over = new AbortController()
    for (const name of NAMES) lab.add(name, { config: { partitions: 256 } })
    lab.start(...NAMES)
    await lab.settled(...NAMES)
    for (const key of KEYS) await lab.world.settle(lab.node('a').put(key, key, 'all', 5000))
    for (const name of NAMES) lab.cluster.machine(name).disk.set({ writeMinMs: 8 })
    requests = read('a')
  })

  afterEach(async () => {
    over.abort()
    await lab.world.settle(requests)
    await lab.stop()
  })

  async function read(name: string): Promise<void> {
    while (!over.signal.aborted) {
      await lab.node(name).get('k0', 'quorum', 5000)
      await pause(lab.node(name).clock, 20)
    }
  }

  it('is gone long before whoever ends processes loses patience, however slow its copies are', async () => {
    const startMs = lab.world.nowMs
    await lab.world.settle(lab.cluster.leave('c', 60_000))
    const tookMs = lab.world.nowMs - startMs
    // Rests of the usual length add up to 20 s.
    assert.ok(tookMs < 10_000, `${tookMs} ms`)
  })
})
