import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { Keyspace } from '../../../src/node/keyspace.ts'
import { createTestCluster, type TestCluster } from '../../../src/testing/test-cluster.ts'

describe('conditional writes', () => {
  let cluster: TestCluster
  let at: readonly Keyspace<number>[]
  beforeEach(async () => {
    cluster = await createTestCluster(3, { seed: 'conditional' })
    at = [0, 1, 2].map(i => cluster.node(i).keyspace<number>('c'))
  })
  afterEach(() => cluster.stop())

  const run = <T>(promise: Promise<T>): Promise<T> => cluster.run(promise)
  const plusOne = (count = 0): number => count + 1

  describe('putIfAbsent', () => {
    it('stores where there is nothing, where something was deleted, and where it has expired', async () => {
      assert.equal(await run(at[0]!.putIfAbsent('k', 1, { ttl: 100 })), true)
      assert.equal(await run(at[1]!.putIfAbsent('k', 2)), false)
      assert.equal(await run(at[1]!.get('k')), 1)
      await cluster.advance(150)
      assert.equal(await run(at[1]!.putIfAbsent('k', 2)), true)
      await run(at[0]!.delete('k'))
      assert.equal(await run(at[2]!.putIfAbsent('k', 3)), true)
      assert.equal(await run(at[0]!.get('k')), 3)
    })

    it('tells one of the calls of a node that it was the one', async () => {
      const told = await run(Promise.all(Array.from({ length: 50 }, (_, i) => at[0]!.putIfAbsent('k', i))))
      assert.equal(told.filter(Boolean).length, 1)
      assert.equal(await run(at[1]!.get('k')), told.indexOf(true))
    })

    it('tells nobody so whose value was seen to be replaced by that of another node', async () => {
      // All three have read that there is nothing before anybody writes.
      for (let i = 0; i < 20; i++) {
        const told = await run(Promise.all(at.map((keyspace, node) => keyspace.putIfAbsent(`k${i}`, node))))
        const winner = await run(at[0]!.get(`k${i}`))
        assert.equal(told[winner!], true, 'whoever’s value is there was told so')
        assert.ok(told.filter(Boolean).length <= 2, String(told))
      }
    })

    it('yields to a put that comes between, on whatever node, and says so', async () => {
      for (let i = 0; i < 20; i++) {
        const key = `p${i}`
        cluster.jumpClock(1, i % 2 === 0 ? -500 : 0)
        const [told] = await run(Promise.all([at[0]!.putIfAbsent(key, 1), at[1]!.put(key, 10)]))
        assert.equal(await run(at[2]!.get(key)), 10, `${key} ${String(told)}`)
        cluster.jumpClock(1, i % 2 === 0 ? 500 : 0)
      }
    })

    it('is told so although its value has another expiry already', async () => {
      const first = at[0]!.putIfAbsent('k', 7, { ttl: 1000 })
      await run(Promise.all([first, ...at.map(keyspace => keyspace.touch('k', 2000))]))
      assert.equal(await run(first), true)
    })
  })

  describe('update', () => {
    it('counts every call of a node', async () => {
      await run(Promise.all(Array.from({ length: 100 }, () => at[0]!.update('n', plusOne))))
      assert.equal(await run(at[1]!.get('n')), 100)
    })

    it('returns the new value, deletes what comes to none, and leaves alone what was none', async () => {
      assert.equal(await run(at[0]!.update('n', plusOne)), 1)
      assert.equal(await run(at[1]!.update('n', async count => plusOne(count))), 2)
      assert.equal(await run(at[2]!.update('n', () => undefined)), undefined)
      assert.equal(await run(at[0]!.has('n')), false)
      const { writes } = cluster.node(0).status().operations
      assert.equal(await run(at[0]!.update('n', () => undefined)), undefined)
      assert.equal(cluster.node(0).status().operations.writes, writes)
    })

    it('never takes the place of a write that it has not seen, and begins anew', async () => {
      for (let i = 0; i < 30; i++) {
        const key = `n${i}`
        await run(at[0]!.put(key, 1))
        const seen: (number | undefined)[] = []
        // While it thinks, another node writes, whose clock may be behind.
        cluster.jumpClock(1, i % 2 === 0 ? -500 : 0)
        const change = async (count?: number): Promise<number> => {
          seen.push(count)
          if (seen.length === 1) await at[1]!.put(key, 10)
          return (count ?? 0) + 1
        }
        assert.equal(await run(at[0]!.update(key, change)), 11)
        assert.deepEqual(seen, [1, 10])
        assert.equal(await run(at[2]!.get(key)), 11)
        cluster.jumpClock(1, i % 2 === 0 ? 500 : 0)
      }
    })

    it('never does so where there is nothing, where something was deleted, and where it has expired', async () => {
      const before: Record<string, (key: string) => Promise<unknown>> = {
        never: async () => undefined,
        deleted: async key => {
          await at[2]!.put(key, 1)
          await at[2]!.delete(key)
        },
        expired: async key => {
          await at[2]!.put(key, 1, { ttl: 5 })
        }
      }
      for (const [name, make] of Object.entries(before)) {
        for (const skewMs of [0, -500, 500]) {
          const key = `${name}${skewMs}`
          await run(make(key))
          // Longer than clocks here are apart.
          await cluster.advance(2000)
          const seen: (number | undefined)[] = []
          cluster.jumpClock(1, skewMs)
          const change = async (count?: number): Promise<number> => {
            seen.push(count)
            if (seen.length === 1) await at[1]!.put(key, 10)
            return (count ?? 0) + 1
          }
          assert.equal(await run(at[0]!.update(key, change)), 11, key)
          assert.deepEqual(seen, [undefined, 10], key)
          assert.equal(await run(at[2]!.get(key)), 11, key)
          cluster.jumpClock(1, -skewMs)
        }
      }
    })

    it('of several nodes adds what each of them has to add, again if need be', async () => {
      const sets = [0, 1, 2].map(i => cluster.node(i).keyspace<string[]>('sets'))
      for (let i = 0; i < 20; i++) {
        const add =
          (item: string) =>
          (all: string[] = []) =>
            all.includes(item) ? all : [...all, item]
        await run(sets[0]!.put(`k${i}`, []))
        await run(Promise.all(sets.map((set, node) => set.update(`k${i}`, add(`${node}`)))))
        assert.deepEqual((await run(sets[0]!.get(`k${i}`)))!.toSorted(), ['0', '1', '2'], `k${i}`)
      }
    })

    it('gives up when another node comes between again and again', async () => {
      await run(at[0]!.put('n', 0))
      let calls = 0
      const change = async (): Promise<number> => {
        await at[1]!.put('n', ++calls)
        return -1
      }
      const outcome = run(at[0]!.update('n', change))
      await assert.rejects(outcome, (error: unknown) => isKilovoltError(error, 'KV_CONTENDED') && error.retryable)
      assert.equal(calls, 16)
      assert.equal(await run(at[2]!.get('n')), 16)
    })

    it('keeps the expiry that a value has, unless it names another, and gives a new one that of the keyspace', async () => {
      const counts = cluster.node(0).keyspace<number>('windows', { ttl: 1000 })
      await run(counts.update('n', plusOne))
      const first = (await run(counts.getEntry('n')))!.expiresAt!
      await cluster.advance(600)
      await run(counts.update('n', plusOne))
      assert.equal((await run(counts.getEntry('n')))!.expiresAt, first)
      await cluster.advance(500)
      assert.equal(await run(counts.update('n', plusOne)), 1, 'the window is over')
      await run(counts.update('n', plusOne, { ttl: 5000 }))
      assert.ok((await run(counts.getEntry('n')))!.ttl! > 4000)
      await run(counts.update('n', plusOne, { ttl: Infinity }))
      assert.equal((await run(counts.getEntry('n')))!.expiresAt, undefined)
      await run(counts.update('n', plusOne))
      assert.equal((await run(counts.getEntry('n')))!.expiresAt, undefined)
    })

    it('rejects with what the function throws, writes nothing, and lets the next one go on', async () => {
      const error = new Error('no')
      const [first, second] = [
        at[0]!.update('n', () => {
          throw error
        }),
        at[0]!.update('n', plusOne)
      ]
      await assert.rejects(run(first), error)
      assert.equal(await run(second), 1)
    })

    it('ends at its deadline although the function does not, and what that comes to has no effect', async () => {
      let late!: (value: number) => void
      const stuck = at[0]!.update('n', () => new Promise<number>(resolve => (late = resolve)), { timeoutMs: 500 })
      const next = at[0]!.update('n', plusOne, { timeoutMs: 2000 })
      await assert.rejects(run(stuck), (error: unknown) => isKilovoltError(error, 'KV_TIMEOUT'))
      assert.equal(await run(next), 1)
      late(1000)
      await cluster.advance(1000)
      assert.equal(await run(at[1]!.get('n')), 1)
    })

    it('can be called off while it waits for its turn, or has it', async () => {
      const abort = new AbortController()
      const { signal } = abort
      const waits = [1, 2].map(() => at[0]!.update('n', () => new Promise(() => {}), { signal }))
      const rejected = waits.map(wait => assert.rejects(wait, (e: unknown) => isKilovoltError(e, 'KV_ABORTED')))
      await cluster.advance(50)
      abort.abort()
      await run(Promise.all(rejected))
      assert.equal(await run(at[0]!.update('n', plusOne)), 1)
    })

    it('ends with the node', async () => {
      const wait = cluster.node(2).update('n', () => new Promise(() => {}))
      const rejected = assert.rejects(wait, (error: unknown) => isKilovoltError(error, 'KV_NODE_STOPPED'))
      await cluster.advance(50)
      await cluster.stop()
      await rejected
    })

    it('refuses what is no function', async () => {
      await assert.rejects(at[0]!.update('n', 5 as never), TypeError)
    })
  })
})
