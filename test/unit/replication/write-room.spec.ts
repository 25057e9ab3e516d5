import assert from 'node:assert/strict'
import { isKilovoltError, KilovoltError } from '../../../src/base/errors.ts'
import { WriteRoom } from '../../../src/replication/write-room.ts'
import { TimerWheel } from '../../../src/runtime/timer-wheel.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

describe('the room for large writes', () => {
  let world: SimWorld
  let room: WriteRoom
  let running: Set<{ cancel(error: KilovoltError): void }>
  let log: string[]

  beforeEach(() => {
    world = new SimWorld()
    const clock = world.clock('n')
    running = new Set()
    const deps = { clock, wheel: new TimerWheel(clock), running, failed: (error: unknown) => error }
    room = new WriteRoom(deps, { bytesMax: 10, waitingBytesMax: 100 })
    log = []
  })

  const later = (ms: number): Promise<void> => new Promise(resolve => world.after(ms, resolve))

  /** A write that takes so long. */
  function write(name: string, bytes: number, ms: number, options: Partial<Parameters<WriteRoom['run']>[0]> = {}) {
    const ended = room.run({ bytes, timeoutMs: 1000, ...options }, async leftMs => {
      log.push(`${name} ${leftMs}`)
      await later(ms)
      return name
    })
    return ended.catch((error: unknown) => {
      if (!isKilovoltError(error)) throw error
      return `${name} ${error.code} ${String(error.details['outcome'])} ${error.retryable}`
    })
  }

  it('lets so many bytes be under way, and the others follow in their order, each in what is left of its time', async () => {
    const all = [write('a', 6, 100), write('b', 6, 100), write('c', 3, 100), write('d', 7, 100)]
    assert.deepEqual(log, ['a 1000'])
    assert.deepEqual(await world.settle(Promise.all(all)), ['a', 'b', 'c', 'd'])
    assert.deepEqual(log, ['a 1000', 'b 900', 'c 900', 'd 800'])
    assert.equal(running.size, 0)
  })

  it('lets one that is larger than all of it go by itself', async () => {
    const all = [write('a', 1, 100), write('huge', 50, 100), write('c', 1, 100)]
    assert.deepEqual(await world.settle(Promise.all(all)), ['a', 'huge', 'c'])
    assert.deepEqual(log, ['a 1000', 'huge 900', 'c 800'])
  })

  it('refuses what did not get its turn in time, of which nothing was sent, unless an earlier attempt was', async () => {
    const all = [write('a', 10, 2000), write('b', 10, 1), write('again', 10, 1, { isRepeat: true, timeoutMs: 500 })]
    assert.deepEqual(await world.settle(Promise.all(all)), [
      'a',
      'b KV_OVERLOADED not-executed true',
      'again KV_OVERLOADED unknown false'
    ])
    assert.deepEqual(log, ['a 1000'])
    assert.equal(running.size, 0)
    assert.equal(await world.settle(write('c', 10, 1)), 'c', 'there is room again')
  })

  it('begins nothing that would not end in time, by what others took', async () => {
    for (let i = 0; i < 30; i++) await world.settle(write('before', 1, 400))
    log = []
    const all = [write('a', 10, 400), write('b', 10, 400), write('c', 10, 400)]
    assert.deepEqual(await world.settle(Promise.all(all)), ['a', 'b', 'c KV_OVERLOADED not-executed true'])
    assert.deepEqual(log, ['a 1000', 'b 600'])
  })

  it('refuses at once what would be too much to wait, but not what takes no more memory when it waits', async () => {
    const all = [write('a', 10, 100), write('b', 60, 100), write('c', 60, 100)]
    const held = write('held', 60, 100, { isHeld: true })
    assert.deepEqual(await world.settle(Promise.all(all)), ['a', 'b', 'c KV_OVERLOADED not-executed true'])
    assert.equal(await world.settle(held), 'held')
  })

  it('takes nobody’s turn for who is called off, by a signal or as the node stops', async () => {
    const abort = new AbortController()
    const all = [write('a', 10, 100), write('b', 10, 100, { signal: abort.signal }), write('c', 10, 100)]
    const gone = write('gone', 10, 1, { signal: AbortSignal.abort() })
    abort.abort()
    assert.match(await world.settle(gone), /^gone KV_ABORTED/u)
    assert.deepEqual(await world.settle(Promise.all(all.slice(0, 2))), ['a', 'b KV_ABORTED undefined false'])
    const last = write('d', 10, 100)
    for (const wait of running) wait.cancel(new KilovoltError('KV_NODE_STOPPED', 'the node stops'))
    assert.equal(await world.settle(last), 'd KV_NODE_STOPPED undefined false')
    assert.equal(await world.settle(all[2]!), 'c')
  })
})
