import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes, concatBytes, fromHex, toHex } from '../../../src/base/bytes.ts'
import { Emitter } from '../../../src/base/emitter.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../../../src/base/errors.ts'
import { assert as invariant, unreachable } from '../../../src/base/assert.ts'
import { onAbort, throwIfAborted } from '../../../src/base/abort.ts'
import { Heap } from '../../../src/base/heap.ts'
import { BoundedQueue } from '../../../src/base/queue.ts'

describe('base', () => {
  it('a heap gives its items back in order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), items => {
        const heap = new Heap<number>((a, b) => a < b)
        for (const item of items) heap.push(item)
        assert.equal(heap.size, items.length)
        const out = items.map(() => heap.pop()!)
        assert.deepEqual(
          out,
          items.toSorted((a, b) => a - b)
        )
        assert.equal(heap.pop(), undefined)
        assert.equal(heap.peek(), undefined)
      })
    )
  })

  it('a heap finds the place of its first item anew when that has grown', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(50), { minLength: 1 })), lists => {
        const sorted = lists.map(list => list.toSorted((a, b) => a - b))
        const heap = new Heap<number[]>((a, b) => a[0]! < b[0]!)
        for (const list of sorted) heap.push([...list])
        const merged: number[] = []
        for (let first = heap.peek(); first !== undefined; first = heap.peek()) {
          merged.push(first.shift()!)
          if (first.length > 0) heap.settle()
          else {
            // Whatever is taken out must still be in its place.
            first.push(-1)
            assert.equal(heap.pop(), first)
          }
        }
        assert.deepEqual(
          merged,
          sorted.flat().sort((a, b) => a - b)
        )
      })
    )
  })

  it('a bounded queue keeps order and refuses what does not fit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.array(fc.boolean(), { maxLength: 500 }), (max, pushes) => {
        const queue = new BoundedQueue<number>(max)
        const model: number[] = []
        for (const [i, push] of pushes.entries()) {
          if (push) assert.equal(queue.push(i), model.length < max && model.push(i) > 0)
          else assert.equal(queue.shift(), model.shift())
          assert.equal(queue.size, model.length)
        }
        assert.deepEqual(queue.drain(), model)
        assert.equal(queue.size, 0)
      })
    )
  })

  it('bytes compare as Buffer does, and survive hex', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
        assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(a, b))
        assert.deepEqual(fromHex(toHex(a)), a)
        assert.deepEqual(concatBytes([a, b]), new Uint8Array([...a, ...b]))
      })
    )
    assert.equal(fromHex('xyz'), undefined)
    assert.equal(fromHex('0g'), undefined)
  })

  it('an emitter calls who listens, until they stop listening', () => {
    const emitter = new Emitter<{ tick: number }>()
    const heard: number[] = []
    const off = emitter.on('tick', n => heard.push(n))
    emitter.emit('tick', 1)
    off()
    emitter.emit('tick', 2)
    assert.deepEqual(heard, [1])
  })

  it('errors are known by their code, across copies of the package', () => {
    const error = new KilovoltError('KV_TIMEOUT', 'too late', { cause: 'x', retryable: true })
    assert.equal(error.cause, 'x')
    const known = [isKilovoltError(error), isKilovoltError(error, 'KV_TIMEOUT')]
    const foreign = [isKilovoltError(error, 'KV_CONFIG'), isKilovoltError(new Error('x')), isKilovoltError('x')]
    assert.deepEqual(
      [known, foreign],
      [
        [true, true],
        [false, false, false]
      ]
    )
    assert.equal(messageOf('text'), 'text')
    assert.throws(() => invariant(false, 'x'), { code: 'KV_INTERNAL' })
    assert.throws(() => unreachable('x' as never), { code: 'KV_INTERNAL' })
  })

  it('an abort listener is called once and can be taken away', () => {
    const controller = new AbortController()
    let calls = 0
    onAbort(controller.signal, () => calls++)
    const off = onAbort(controller.signal, () => calls++)
    off()
    throwIfAborted(controller.signal, 'x')
    controller.abort('why')
    assert.equal(calls, 1)
    onAbort(controller.signal, () => calls++)
    assert.equal(calls, 2)
    assert.throws(() => throwIfAborted(controller.signal, 'x'), { code: 'KV_ABORTED', cause: 'why' })
  })
})
