import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { Gather, gatherMany, type Waiter } from '../../../src/replication/gather.ts'

describe('waiting for several operations', () => {
  it('ends when all have, in whatever order, with results and failures in their places', async () => {
    const gather = new Gather<string>(4)
    const failure = new Error('no')
    gather.resolve(2, 'c')
    gather.resolve(0, Promise.resolve('a'))
    gather.reject(1, failure)
    gather.resolve(3, Promise.reject(failure))
    assert.deepEqual(await gather.promise, {
      results: ['a', undefined, 'c', undefined],
      failures: new Map([
        [1, failure],
        [3, failure]
      ])
    })
  })

  it('ends at once when there are none', async () => {
    assert.deepEqual(await new Gather(0).promise, { results: [], failures: new Map() })
  })

  it('tells when so many have ended', async () => {
    const gather = new Gather<number>(3)
    assert.equal(gather.ended(0), undefined)
    let woken = false
    void gather.ended(2)!.then(() => (woken = true))
    gather.resolve(1, 1)
    await Promise.resolve()
    assert.equal(woken, false)
    gather.reject(2, new Error('no'))
    await Promise.resolve()
    assert.equal(woken, true)
    assert.equal(gather.ended(2), undefined)
  })
})

/** Takes operations in; the test ends them. */
class FakeBundle {
  static readonly MAX = 100
  readonly entered: number[] = []
  isStarted = false
  isCancelled = false

  get isFull(): boolean {
    return this.entered.length >= FakeBundle.MAX
  }

  start(): void {
    this.isStarted = true
  }

  cancel(): void {
    this.isCancelled = true
  }
}

describe('operations on many keys', () => {
  const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

  function begin(count: number, signal?: AbortSignal) {
    const bundles: FakeBundle[] = []
    let waiter: Waiter<number> | undefined
    const promise = gatherMany<FakeBundle, number>(count, signal, {
      open: () => {
        bundles.push(new FakeBundle())
        return bundles.at(-1)
      },
      add: (bundle, each, index) => {
        waiter = each
        bundle!.entered.push(index)
      }
    })
    return { promise, bundles, end: (index: number) => waiter!.resolve(index, index * 2) }
  }

  it('begin in the call, in their order, in bundles that are not overfull', async () => {
    const { promise, bundles, end } = begin(150)
    assert.deepEqual(
      bundles.map(({ entered, isStarted }) => [entered.length, isStarted]),
      [
        [100, true],
        [50, true]
      ]
    )
    assert.deepEqual(
      bundles.flatMap(({ entered }) => entered),
      Array.from({ length: 150 }, (_, i) => i)
    )
    for (let i = 149; i >= 0; i--) end(i)
    assert.deepEqual(
      (await promise).results,
      Array.from({ length: 150 }, (_, i) => i * 2)
    )
  })

  it('are under way in a bounded number', async () => {
    const count = 10_000
    const { promise, bundles, end } = begin(count)
    let ended = 0
    let most = 0
    while (ended < count) {
      const begun = bundles.reduce((sum, { entered }) => sum + entered.length, 0)
      most = Math.max(most, begun - ended)
      assert.ok(begun > ended, 'it goes on')
      for (const until = Math.min(begun, ended + 700); ended < until; ended++) end(ended)
      await turn()
    }
    assert.ok(most <= 2048, `${most} at once`)
    assert.ok(most > 1024, `${most} at once`)
    assert.equal((await promise).results.length, count)
  })

  it('are called off by the signal: what is under way is ended, and nothing more begins', async () => {
    const aborter = new AbortController()
    const { promise, bundles, end } = begin(3000, aborter.signal)
    aborter.abort()
    assert.ok(bundles.every(({ isCancelled }) => isCancelled))
    const begun = bundles.reduce((sum, { entered }) => sum + entered.length, 0)
    for (let i = 0; i < begun; i++) end(i)
    const { failures } = await promise
    assert.equal(failures.size, 3000 - begun)
    for (const error of failures.values()) assert.ok(isKilovoltError(error, 'KV_ABORTED'))
  })

  it('of a signal that has aborted already do not begin', async () => {
    const { promise, bundles } = begin(3, AbortSignal.abort())
    assert.equal((await promise).failures.size, 3)
    assert.equal(bundles.length, 0)
  })
})
