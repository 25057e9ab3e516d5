import assert from 'node:assert/strict'
import { createTestCluster, type TestCluster } from '../../../src/testing/test-cluster.ts'

const NODES = [0, 1, 2]
/** Writers of one key on each node. */
const WRITERS = 4
const WRITES = 40

/** Goal: that one key may be written from anywhere, by as many as like. Method: everybody writes it, again and again. */
describe('a key that many write at the same time', () => {
  let cluster: TestCluster

  beforeEach(async () => {
    cluster = await createTestCluster(3, { seed: 5 })
  })

  afterEach(() => cluster.stop())

  /** Has every writer write again and again; the codes of what failed. */
  async function failures(write: (node: number, value: string) => Promise<unknown>): Promise<string[]> {
    const failed: string[] = []
    const writer = async (node: number, name: string): Promise<void> => {
      for (let i = 0; i < WRITES; i++)
        await write(node, `${name}:${i}`).catch((error: { code: string }) => void failed.push(error.code))
    }
    const writers = NODES.flatMap(node => Array.from({ length: WRITERS }, (_, n) => writer(node, `${node}.${n}`)))
    await cluster.run(Promise.all(writers))
    return failed
  }

  it('takes every put at quorum and at all, and ends with one of the last', async () => {
    for (const consistency of ['quorum', 'all'] as const) {
      assert.deepEqual(await failures((node, value) => cluster.node(node).put('hot', value, { consistency })), [])
      const last = await cluster.run(Promise.all(NODES.map(node => cluster.node(node).get('hot'))))
      assert.equal(new Set(last).size, 1)
      assert.ok(String(last[0]).endsWith(`:${WRITES - 1}`), String(last[0]))
    }
  })

  it('takes every delete, and every batch of keys of one partition', async () => {
    assert.deepEqual(
      await failures((node, value) =>
        Number(value.split(':')[1]) % 2 === 0 ? cluster.node(node).delete('hot') : cluster.node(node).put('hot', value)
      ),
      []
    )
    const batch = (node: number, value: string): Promise<unknown> =>
      cluster.node(node).batch(['{hot}:a', '{hot}:b'].map(key => ({ type: 'put', key, value })))
    assert.deepEqual(await failures(batch), [])
  })
})
