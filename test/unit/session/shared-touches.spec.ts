import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { createDeferred, type Deferred } from '../../../src/base/deferred.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { SharedTouches } from '../../../src/session/shared-touches.ts'

/** A keyspace whose touches end when the test says so. */
class HeldTouches {
  readonly calls: { readonly id: string; readonly ttl: number; readonly done: Deferred<boolean> }[] = []

  touch(id: string, ttl = 0): Promise<boolean> {
    const done = createDeferred<boolean>()
    this.calls.push({ id, ttl, done })
    return done.promise
  }

  /** Ends the touch that has waited longest. */
  async end(error?: Error): Promise<void> {
    const call = this.calls.shift()!
    if (error === undefined) call.done.resolve(true)
    else call.done.reject(error)
    await turn()
  }
}

describe('shared touches', () => {
  it('make one touch of all that come while one is under way, with the latest of their ends', async () => {
    const keyspace = new HeldTouches()
    const touches = new SharedTouches(keyspace)
    let ended = 0
    const all = [9000, 5000, 90_000, 20_000].map(ttl => touches.touch('a', ttl).then(() => ended++))
    const other = touches.touch('b', 7000)
    assert.deepEqual(
      keyspace.calls.map(({ id, ttl }) => [id, ttl]),
      [
        ['a', 9000],
        ['b', 7000]
      ]
    )
    await keyspace.end()
    assert.equal(ended, 1)
    const [, together] = keyspace.calls
    assert.equal(keyspace.calls.length, 2)
    assert.ok(together!.id === 'a' && together!.ttl > 60_000 && together!.ttl <= 90_000, String(together!.ttl))
    await keyspace.end()
    await other
    // One that comes now was not counted by it.
    const late = touches.touch('a', 8000)
    assert.equal(keyspace.calls.length, 1)
    await keyspace.end()
    await Promise.all(all)
    await keyspace.end()
    await late
    assert.equal(keyspace.calls.length, 0)
    void touches.touch('a', 1)
    assert.equal(keyspace.calls.length, 1, 'nothing is left of what has ended')
  })

  it('are done when other nodes come between again and again, and fail for anything else, each for itself', async () => {
    const keyspace = new HeldTouches()
    const touches = new SharedTouches(keyspace)
    const first = touches.touch('a', 5000)
    const rest = [touches.touch('a', 5000), touches.touch('a', 5000)]
    await keyspace.end(new KilovoltError('KV_CONTENDED', 'others came between'))
    await first
    const failure = new KilovoltError('KV_QUORUM_NOT_REACHED', 'nobody answers')
    const failed = Promise.allSettled(rest)
    await keyspace.end(failure)
    for (const outcome of await failed) assert.deepEqual(outcome, { status: 'rejected', reason: failure })
    const again = touches.touch('a', 5000)
    await keyspace.end()
    await again
  })

  it('for ever are for ever', async () => {
    const keyspace = new HeldTouches()
    const touches = new SharedTouches(keyspace)
    const all = [5000, 5000, Infinity].map(ttl => touches.touch('a', ttl))
    await keyspace.end()
    assert.equal(keyspace.calls[0]!.ttl, Infinity)
    await keyspace.end()
    await Promise.all(all)
  })

  it('of more sessions than are remembered are made each for itself', async () => {
    const keyspace = new HeldTouches()
    const touches = new SharedTouches(keyspace, 1)
    const all = ['a', 'b', 'b', 'a'].map(id => touches.touch(id, 5000))
    assert.deepEqual(
      keyspace.calls.map(({ id }) => id),
      ['a', 'b', 'b']
    )
    while (keyspace.calls.length > 0) await keyspace.end()
    await Promise.all(all)
  })
})
