import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { onAbort, throwIfStopped, unlessAborted } from '../../../src/base/abort.ts'
import { createDeferred } from '../../../src/base/deferred.ts'

const given = (): Error => new Error('given up')

describe('waiting unless a signal aborts', () => {
  it('comes to what the promise comes to', async () => {
    const { signal } = new AbortController()
    assert.equal(await unlessAborted(Promise.resolve(1), signal, given), 1)
    await assert.rejects(unlessAborted(Promise.reject(new Error('failed')), signal, given), { message: 'failed' })
  })

  it('ends with the error when the signal aborts first, or has already', async () => {
    const abort = new AbortController()
    const { promise, reject } = createDeferred<void>()
    const waiting = unlessAborted(promise, abort.signal, given)
    abort.abort()
    await assert.rejects(waiting, { message: 'given up' })
    await assert.rejects(unlessAborted(createDeferred<void>().promise, abort.signal, given), { message: 'given up' })
    // Nobody waits for it any more, and it counts as handled.
    reject(new Error('too late'))
    await promise.catch(() => {})
  })
})

describe('a node that stops', () => {
  it('says so by a code of its own to what was under way, whatever the signal was aborted with', () => {
    const abort = new AbortController()
    throwIfStopped(abort.signal)
    abort.abort(given())
    assert.throws(() => throwIfStopped(abort.signal), { name: 'KilovoltError', code: 'KV_NODE_STOPPED' })
  })
})

describe('those who wait for a signal', () => {
  it('are called once and in turn, share one listener, and leave none behind', () => {
    const abort = new AbortController()
    const { signal } = abort
    const called: string[] = []
    const call = (name: string) => (): void => void called.push(name)
    const listeners = (): number => getEventListeners(signal, 'abort').length
    const forget = ['a', 'b', 'c'].map(name => onAbort(signal, call(name)))
    assert.equal(listeners(), 1)
    forget[1]!()
    forget[1]!()
    forget[0]!()
    forget[2]!()
    assert.equal(listeners(), 0)
    const last = onAbort(signal, call('f'))
    onAbort(signal, () => {
      called.push('d')
      last()
    })
    onAbort(signal, call('e'))
    last()
    const first = onAbort(signal, call('g'))
    abort.abort()
    first()
    assert.deepEqual(called, ['d', 'e', 'g'])
    onAbort(signal, call('late'))
    assert.deepEqual(called.at(-1), 'late')
    assert.equal(listeners(), 0)
  })
})
