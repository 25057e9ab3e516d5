import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { checkAcknowledged } from '../../../../src/testing/checkers/acknowledged.ts'
import { History, type Operation } from '../../../../src/testing/checkers/history.ts'
import { checkRegisters } from '../../../../src/testing/checkers/register.ts'

type Level = Operation['level']

/** Writes histories as a story: `w` and `r` begin, the returned functions end. */
class Story {
  readonly history = new History()

  write(value: string | undefined, level: Level = 'quorum', client = 'a') {
    const kind = value === undefined ? ('delete' as const) : ('put' as const)
    const operation = this.history.begin({ client, kind, key: 'k', level, ...(value === undefined ? {} : { value }) })
    return {
      ok: () => this.history.acknowledged(operation),
      unknown: () => this.history.refused(operation, 'unknown'),
      failed: () => this.history.refused(operation, 'failed')
    }
  }

  read(level: Level = 'quorum', client = 'b') {
    const operation = this.history.begin({ client, kind: 'get', key: 'k', level })
    return { ok: (value: string | undefined, version?: string) => this.history.returned(operation, value, version) }
  }

  rules(): string[] {
    return checkRegisters(this.history.operations).map(({ rule }) => rule)
  }

  lost(value: string | undefined): number {
    return checkAcknowledged(this.history.operations, new Map([['k', value]])).length
  }
}

describe('the register checker', () => {
  it('accepts reads of the last acknowledged write, and of nothing before the first', () => {
    const story = new Story()
    story.read().ok(undefined)
    story.write('1').ok()
    story.read().ok('1')
    story.write('2').ok()
    story.read().ok('2')
    story.write(undefined).ok()
    story.read().ok(undefined)
    assert.deepEqual(story.rules(), [])
    assert.equal(story.lost(undefined), 0)
  })

  it('sees a read that misses an acknowledged write', () => {
    const story = new Story()
    story.write('1').ok()
    story.read().ok(undefined)
    assert.deepEqual(story.rules(), ['quorum reads miss no acknowledged write'])
  })

  it('sees a read of what was overwritten before it began', () => {
    const story = new Story()
    story.write('1').ok()
    story.write('2').ok()
    story.read().ok('1')
    assert.deepEqual(story.rules(), ['quorum reads miss no acknowledged write'])
  })

  it('sees a deleted value come back', () => {
    const story = new Story()
    story.write('1').ok()
    story.write(undefined).ok()
    story.read().ok('1')
    assert.deepEqual(story.rules(), ['quorum reads miss no acknowledged write'])
  })

  it('lets writes that run during the read be seen or not', () => {
    for (const seen of ['1', '2']) {
      const story = new Story()
      story.write('1').ok()
      const write = story.write('2')
      story.read().ok(seen)
      write.ok()
      assert.deepEqual(story.rules(), [])
    }
  })

  it('lets a write of unknown outcome take effect at any later time, or never', () => {
    const story = new Story()
    story.write('1').unknown()
    story.write('2').ok()
    story.read().ok('2')
    story.read().ok('1')
    assert.deepEqual(story.rules(), [])
    assert.equal(story.lost('1'), 0)
    assert.equal(story.lost('2'), 0)
    assert.equal(story.lost(undefined), 1)
  })

  it('lets a write at one be lost, and seen late', () => {
    const story = new Story()
    story.write('1', 'one').ok()
    story.read().ok(undefined)
    story.write('2').ok()
    story.read().ok('1')
    assert.deepEqual(story.rules(), [])
  })

  it('asks nothing of reads at one but that somebody wrote it', () => {
    const story = new Story()
    story.write('1').ok()
    story.write('2').ok()
    story.read('one').ok('1')
    assert.deepEqual(story.rules(), [])
    story.read('one').ok('3')
    assert.deepEqual(story.rules(), ['reads return what was written'])
  })

  it('sees the effect of a write that was refused for certain', () => {
    const story = new Story()
    story.write('1').failed()
    story.read().ok('1')
    assert.deepEqual(story.rules(), ['reads return what was written'])
  })

  it('sees a value that was read before anybody wrote it', () => {
    const story = new Story()
    story.read().ok('1')
    story.write('1').ok()
    assert.deepEqual(story.rules(), ['reads return what was written'])
  })

  it('sees versions go back, whoever reads, and lets concurrent reads differ', () => {
    const story = new Story()
    story.write('1').unknown()
    story.write('2').unknown()
    const slow = story.read('quorum', 'slow')
    story.read('quorum', 'b').ok('2', '0002')
    slow.ok('1', '0001')
    assert.deepEqual(story.rules(), [])
    story.read('quorum', 'c').ok('1', '0001')
    assert.deepEqual(story.rules(), ['quorum reads never go back'])
  })

  it('sees an acknowledged write missing at rest', () => {
    const story = new Story()
    story.write('1').ok()
    story.write('2').ok()
    assert.equal(story.lost('2'), 0)
    assert.equal(story.lost('1'), 1)
    assert.equal(story.lost(undefined), 1)
    assert.equal(story.lost('never written'), 1)
  })

  it('accepts every history of one register that takes effect in one instant of each operation', () => {
    const step = fc.record({ client: fc.integer({ min: 0, max: 3 }), kind: fc.constantFrom('get', 'put', 'delete') })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const history = new History()
        const open = new Map<number, { operation: Operation; effect?: string | undefined }>()
        let value: string | undefined
        let count = 0
        for (const { client, kind } of steps) {
          const running = open.get(client)
          if (running === undefined) {
            const written = kind === 'put' ? { value: String(count++) } : {}
            const start = { client: String(client), kind, key: 'k', level: 'quorum' as const, ...written }
            open.set(client, { operation: history.begin(start) })
          } else if (!('effect' in running)) {
            if (running.operation.kind !== 'get') value = running.operation.value
            running.effect = value
          } else {
            open.delete(client)
            if (running.operation.kind === 'get') history.returned(running.operation, running.effect, undefined)
            else history.acknowledged(running.operation)
          }
        }
        assert.deepEqual(checkRegisters(history.operations), [])
        assert.deepEqual(checkAcknowledged(history.operations, new Map([['k', value]])), [])
      })
    )
  })
})
