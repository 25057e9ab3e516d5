import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { KeyTurns } from '../../../src/node/key-turns.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const NO_LIMITS = { timeoutMs: undefined, signal: undefined }

function turns(options: { callsPerKeyMax?: number; callsMax?: number } = {}): { world: SimWorld; turns: KeyTurns } {
  const world = new SimWorld()
  return { world, turns: new KeyTurns(world.clock('n'), { timeoutMs: 1000, ...options }) }
}

const never = (): Promise<never> => new Promise(() => {})
const isCode =
  (code: 'KV_OVERLOADED' | 'KV_TIMEOUT' | 'KV_NODE_STOPPED' | 'KV_ABORTED') =>
  (error: unknown): boolean =>
    isKilovoltError(error, code)

describe('turns on a key', () => {
  it('come in the order of the calls, one at a time, and those of other keys do not wait', async () => {
    const { world, turns: queue } = turns()
    const log: string[] = []
    const step = (name: string, ms: number) => async (): Promise<string> => {
      log.push(`${name} begins`)
      await new Promise<void>(resolve => world.after(ms, resolve))
      log.push(`${name} ends`)
      return name
    }
    const all = Promise.all([
      queue.take('a', NO_LIMITS, step('a1', 30)),
      queue.take('a', NO_LIMITS, step('a2', 1)),
      queue.take('b', NO_LIMITS, step('b1', 10))
    ])
    assert.deepEqual(await world.settle(all), ['a1', 'a2', 'b1'])
    assert.deepEqual(log, ['a1 begins', 'b1 begins', 'b1 ends', 'a1 ends', 'a2 begins', 'a2 ends'])
    assert.equal(queue.calls, 0)
  })

  it('are refused beyond the bounds, and taken again when there is room', async () => {
    const { world, turns: queue } = turns({ callsPerKeyMax: 2, callsMax: 3 })
    const held = [queue.take('a', NO_LIMITS, never), queue.take('a', NO_LIMITS, never)]
    await assert.rejects(queue.take('a', NO_LIMITS, never), isCode('KV_OVERLOADED'))
    held.push(queue.take('b', NO_LIMITS, never))
    await assert.rejects(queue.take('c', NO_LIMITS, never), isCode('KV_OVERLOADED'))
    const ended = held.map(call => assert.rejects(call, isCode('KV_TIMEOUT')))
    await world.settle(Promise.all(ended))
    assert.equal(await world.settle(queue.take('a', NO_LIMITS, async () => 'taken')), 'taken')
  })

  it('know how much time is left, and refuse to go on when none is', async () => {
    const { world, turns: queue } = turns()
    let seen: unknown
    const call = queue.take('a', { timeoutMs: 100, signal: undefined }, async turn => {
      assert.equal(turn.leftMs, 100)
      await new Promise<void>(resolve => world.after(40, resolve))
      assert.equal(turn.leftMs, 60)
      await new Promise<void>(resolve => world.after(100, resolve))
      try {
        return turn.leftMs
      } catch (error) {
        seen = error
        throw error
      }
    })
    await assert.rejects(world.settle(call), isCode('KV_TIMEOUT'))
    await world.advance(100)
    assert.ok(isKilovoltError(seen, 'KV_TIMEOUT'))
  })

  it('end with the stop, in whatever state they are, and none begins any more', async () => {
    const { turns: queue } = turns()
    let begun = 0
    const hold = (): Promise<never> => {
      begun++
      return never()
    }
    const held = [1, 2, 3].map(() => queue.take('a', NO_LIMITS, hold))
    const ended = held.map(call => assert.rejects(call, isCode('KV_NODE_STOPPED')))
    queue.stop()
    await Promise.all(ended)
    assert.equal(begun, 1)
    assert.equal(queue.calls, 0)
    await assert.rejects(queue.take('a', NO_LIMITS, hold), isCode('KV_NODE_STOPPED'))
  })

  it('are not begun for a signal that has aborted', async () => {
    const { turns: queue } = turns()
    const signal = AbortSignal.abort('enough')
    const call = queue.take('a', { timeoutMs: undefined, signal }, async () => assert.fail('begun'))
    await assert.rejects(call, isCode('KV_ABORTED'))
    assert.equal(queue.calls, 0)
  })
})
