import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { FlushFence, type FenceGroup } from '../../../src/storage/flush-fence.ts'
import { settled } from '../../support/gated-store.ts'

describe('the flush fence', () => {
  it('is passed at once when nothing is inside', async () => {
    const fence = new FlushFence()
    await fence.passed()
    fence.leave(fence.enter())
    await fence.passed()
  })

  it('is passed exactly when all that entered before have left, in whatever order they leave', async () => {
    const step = fc.oneof(
      fc.constant({ kind: 'enter' as const, at: 0 }),
      fc.constant({ kind: 'wait' as const, at: 0 }),
      fc.record({ kind: fc.constant('leave' as const), at: fc.nat(20) })
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async steps => {
        const fence = new FlushFence()
        const inside: { id: number; group: FenceGroup }[] = []
        const waits: { before: Set<number>; passed: boolean }[] = []
        let id = 0
        for (const { kind, at } of steps) {
          if (kind === 'enter') {
            inside.push({ id: id++, group: fence.enter() })
          } else if (kind === 'leave' && inside.length > 0) {
            const [gone] = inside.splice(at % inside.length, 1)
            fence.leave(gone!.group)
            for (const { before } of waits) before.delete(gone!.id)
          } else if (kind === 'wait') {
            const wait = { before: new Set(inside.map(item => item.id)), passed: false }
            void fence.passed().then(() => (wait.passed = true))
            waits.push(wait)
          }
          await settled()
          for (const { before, passed } of waits) assert.equal(passed, before.size === 0)
        }
      })
    )
  })
})
