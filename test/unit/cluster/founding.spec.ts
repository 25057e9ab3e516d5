import assert from 'node:assert/strict'
import { Founding, type FoundingOptions, type FoundingPicture } from '../../../src/cluster/founding.ts'
import { store } from './fixtures.ts'

const OPTIONS: FoundingOptions = { found: true, expect: undefined, lan: false, bootstrap: true, lanWaitMs: 3000 }

function picture(more: Partial<FoundingPicture> = {}): FoundingPicture {
  const { provisional = [store(1)] } = more
  return {
    nowMs: 0,
    self: store(1),
    provisional,
    founders: provisional,
    members: [],
    listed: 3,
    listsSelf: false,
    ...more
  }
}

describe('founding', () => {
  it('F1: with nobody to look for, is done at once', () => {
    assert.equal(new Founding({ ...OPTIONS, bootstrap: false }, 0).look(picture()), 'found')
  })

  it('F2: a list of others only never founds, however long it takes', () => {
    const founding = new Founding(OPTIONS, 0)
    assert.deepEqual(founding.state(false), { counts: false, mayFound: false })
    const unlisted = { provisional: [], founders: [] }
    for (const nowMs of [0, 5000, 600_000]) assert.equal(founding.look(picture({ ...unlisted, nowMs })), 'wait')
  })

  it('F2: nodes that are on no list are not waited for, and count for nothing', () => {
    const listed = {
      provisional: [store(2), store(3)],
      founders: [store(2), store(3)],
      self: store(2),
      listsSelf: true
    }
    const founding = new Founding(OPTIONS, 0)
    founding.look(picture(listed))
    assert.equal(founding.look(picture({ ...listed, nowMs: 2000 })), 'found', 'whoever else has a smaller id')
  })

  it('joins as soon as anybody is a member', () => {
    assert.equal(new Founding(OPTIONS, 0).look(picture({ members: [store(9)] })), 'join')
    assert.equal(new Founding({ ...OPTIONS, found: false }, 0).look(picture({ members: [store(9)] })), 'join')
  })

  it('F3: the smallest of a majority of the list founds, once the picture has held for two seconds', () => {
    const founding = new Founding(OPTIONS, 0)
    const two = { provisional: [store(1), store(2)], listsSelf: true }
    assert.equal(founding.look(picture({ ...two, nowMs: 0 })), 'wait')
    assert.equal(founding.look(picture({ ...two, nowMs: 1999 })), 'wait')
    assert.equal(founding.look(picture({ ...two, nowMs: 2000 })), 'found')
  })

  it('F3: who is alone on its list waits a little longer, for those who may know it to dial it', () => {
    const founding = new Founding(OPTIONS, 0)
    const alone = { provisional: [store(1)], listsSelf: true, listed: 1 }
    assert.equal(founding.look(picture({ ...alone, nowMs: 0 })), 'wait')
    assert.equal(founding.look(picture({ ...alone, nowMs: 3499 })), 'wait')
    assert.equal(founding.look(picture({ ...alone, nowMs: 3500 })), 'found')
  })

  it('F3: a picture that changes starts the wait anew', () => {
    const founding = new Founding(OPTIONS, 0)
    founding.look(picture({ listsSelf: true, nowMs: 0, provisional: [store(1), store(2)] }))
    founding.look(picture({ listsSelf: true, nowMs: 1500, provisional: [store(1), store(2), store(3)] }))
    assert.equal(
      founding.look(picture({ listsSelf: true, nowMs: 2500, provisional: [store(1), store(2), store(3)] })),
      'wait'
    )
    assert.equal(
      founding.look(picture({ listsSelf: true, nowMs: 3500, provisional: [store(1), store(2), store(3)] })),
      'found'
    )
  })

  it('F3: a minority of the list waits, and so does everybody but the smallest', () => {
    const alone = new Founding(OPTIONS, 0)
    alone.look(picture({ listsSelf: true }))
    assert.equal(alone.look(picture({ listsSelf: true, nowMs: 10_000 })), 'wait')
    const larger = new Founding(OPTIONS, 0)
    const three = { listsSelf: true, self: store(2), provisional: [store(1), store(2), store(3)] }
    larger.look(picture(three))
    assert.equal(larger.look(picture({ ...three, nowMs: 10_000 })), 'wait')
  })

  it('expect: n founds with a majority of n, list or not', () => {
    const founding = new Founding({ ...OPTIONS, expect: 5 }, 0)
    const seen = (count: number): Partial<FoundingPicture> => ({
      provisional: Array.from({ length: count }, (_, i) => store(i + 1))
    })
    founding.look(picture({ ...seen(2), nowMs: 0 }))
    assert.equal(founding.look(picture({ ...seen(2), nowMs: 5000 })), 'wait')
    founding.look(picture({ ...seen(3), nowMs: 6000 }))
    assert.equal(founding.look(picture({ ...seen(3), nowMs: 8000 })), 'found')
  })

  it('F4: on a LAN it waits for anybody, then founds', () => {
    const founding = new Founding({ ...OPTIONS, lan: true, bootstrap: false }, 0)
    founding.look(picture({ nowMs: 0 }))
    assert.equal(founding.look(picture({ nowMs: 2999 })), 'wait')
    assert.equal(founding.look(picture({ nowMs: 3000 })), 'found')
  })

  it('found: false never founds, counts all the same, and is not waited for', () => {
    const founding = new Founding({ ...OPTIONS, found: false, expect: 1 }, 0)
    assert.deepEqual(founding.state(true), { counts: true, mayFound: false })
    const three = { provisional: [store(1), store(2), store(3)], listsSelf: true }
    founding.look(picture({ ...three, founders: [store(2)] }))
    assert.equal(founding.look(picture({ ...three, founders: [store(2)], nowMs: 10_000 })), 'wait')
    const other = new Founding(OPTIONS, 0)
    const seen = { ...three, self: store(2), founders: [store(2)] }
    other.look(picture(seen))
    assert.equal(other.look(picture({ ...seen, nowMs: 2000 })), 'found')
  })
})
