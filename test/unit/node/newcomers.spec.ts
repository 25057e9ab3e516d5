import assert from 'node:assert/strict'
import { isKilovoltError } from 'kilovolt'
import { createTestCluster, type TestCluster } from 'kilovolt/testing'

const STEP_MS = 50
/** How long a simulated dial tries. */
const DIAL_MS = 5000

/** A cluster of one, and two more nodes that start at the same moment and cannot reach each other: as slow as a dial may be. */
async function grown(seed = 1): Promise<TestCluster> {
  const cluster = await createTestCluster(1, { seed })
  cluster.grow()
  cluster.grow()
  cluster.split([1], [2])
  return cluster
}

/** How a call ended, and after how many virtual ms. */
async function fails(
  cluster: TestCluster,
  call: Promise<unknown>
): Promise<{ code: string; ms: number; answers: string }> {
  const startMs = cluster.nowMs
  const error = await cluster.run(
    call.then(
      () => undefined,
      (reason: unknown) => reason
    )
  )
  assert.ok(isKilovoltError(error), `it ended with ${String(error)}`)
  const answers = (error.details['answers'] ?? []) as readonly { readonly answer: string }[]
  return { code: error.code, ms: cluster.nowMs - startMs, answers: answers.map(({ answer }) => answer).join(' ') }
}

describe('nodes that join at the same time', () => {
  it('can write all the time, though they own the same partitions a second before they are linked', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const cluster = await grown(seed)
      const writes: Promise<void>[] = []
      const failures: unknown[] = []
      const write = (index: number, key: string): void => {
        try {
          const put = cluster.node(index).put(key, index)
          writes.push(put.catch((error: unknown) => void failures.push(error)))
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_NODE_STOPPED'), 'it is no member yet')
        }
      }
      for (let atMs = 0; atMs < 4000; atMs += STEP_MS) {
        await cluster.advance(STEP_MS)
        if (atMs === 1000) cluster.heal()
        for (const index of [1, 2]) for (let i = 0; i < 4; i++) write(index, `${index} ${atMs} ${i}`)
      }
      await cluster.run(Promise.all(writes))
      assert.ok(writes.length > 300, `${writes.length} writes`)
      assert.deepEqual(failures, [])
      await cluster.stop()
    }
  }).timeout(60_000)

  it('wait for each other no longer than a call may take, or its app wants', async () => {
    const cluster = await grown()
    await cluster.advance(2000)
    const abort = new AbortController()
    const node = cluster.node(1)
    const late = await fails(cluster, node.put('a', 1, { consistency: 'all', timeoutMs: 300 }))
    assert.deepEqual([late.code, late.ms >= 300 && late.ms <= 320], ['KV_TIMEOUT', true], JSON.stringify(late))
    const put = node.put('b', 1, { consistency: 'all', signal: abort.signal })
    await cluster.advance(100)
    abort.abort()
    assert.equal((await fails(cluster, put)).code, 'KV_ABORTED')
    await cluster.stop()
  }).timeout(60_000)

  it('wait no more for somebody whom the first dial has not reached', async () => {
    const cluster = await grown()
    await cluster.advance(2000 + DIAL_MS)
    const { code, ms, answers } = await fails(cluster, cluster.node(1).put('a', 1, { consistency: 'all' }))
    assert.deepEqual([code, ms < 20], ['KV_QUORUM_NOT_REACHED', true], `${code} ${ms}`)
    assert.match(answers, /unsent/u)
    await cluster.stop()
  }).timeout(60_000)
})

describe('an owner that is gone', () => {
  it('is not waited for by those who were linked with it', async () => {
    const cluster = await createTestCluster(3)
    await cluster.settled()
    for (const index of [1, 2]) cluster.crash(index)
    await cluster.advance(10)
    const { code, ms, answers } = await fails(cluster, cluster.node(0).put('a', 1))
    assert.deepEqual([code, ms < 10], ['KV_QUORUM_NOT_REACHED', true], `${code} ${ms}`)
    assert.match(answers, /unsent/u)
    await cluster.stop()
  }).timeout(60_000)
})
