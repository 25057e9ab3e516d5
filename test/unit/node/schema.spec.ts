import assert from 'node:assert/strict'
import * as v from 'valibot'
import * as z from 'zod'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { assertSchema, type StandardSchema, validated } from '../../../src/node/schema.ts'

/** Makes an error's code and issues of whatever is thrown. */
function refusal(fn: () => unknown): { code: string; issues: unknown; message: string } {
  try {
    fn()
  } catch (error) {
    if (!isKilovoltError(error)) throw error
    return { code: error.code, issues: error.details['issues'], message: error.message }
  }
  return assert.fail('nothing was thrown')
}

function standard(validate: (value: unknown) => unknown): StandardSchema {
  return { '~standard': { version: 1, vendor: 'test', validate: validate as never } }
}

describe('schemas', () => {
  const schemas: Readonly<Record<string, StandardSchema>> = {
    zod: z.object({ name: z.string(), tags: z.array(z.object({ id: z.number() })).default([]) }),
    valibot: v.object({ name: v.string(), tags: v.optional(v.array(v.object({ id: v.number() })), []) })
  }

  for (const [library, schema] of Object.entries(schemas)) {
    it(`of ${library} say what is to be stored, and what is wrong and where`, () => {
      assertSchema(schema)
      assert.deepEqual(validated(schema, { name: 'Ada', other: 1 }, 'users'), { name: 'Ada', tags: [] })
      const { code, issues, message } = refusal(() => validated(schema, { name: 'Ada', tags: [{ id: 'a' }] }, 'users'))
      assert.equal(code, 'KV_INVALID_VALUE')
      const [issue] = issues as { message: string; path: unknown }[]
      assert.deepEqual(issue!.path, ['tags', 0, 'id'])
      assert.equal(message, `not a value of the keyspace "users" at tags.0.id: ${issue!.message}`)
    })
  }

  it('may be functions, and make other values', () => {
    const schema = Object.assign(
      () => {},
      standard(value => ({ value: Number(value) }))
    )
    assertSchema(schema)
    assert.equal(validated(schema, '5', ''), 5)
  })

  it('may say no more than that something is wrong', () => {
    for (const [issues, expected] of [
      [[], /gives no reason/u],
      [[{ message: 'bad' }], /: bad$/u],
      [[{ message: 'bad' }, { message: 'worse', path: [{ key: 'a' }, Symbol.iterator] }], /: bad, and 1 more$/u]
    ] as const) {
      const { code, message } = refusal(() =>
        validated(
          standard(() => ({ issues })),
          1,
          'a'
        )
      )
      assert.equal(code, 'KV_INVALID_VALUE')
      assert.match(message, expected)
    }
  })

  it('are refused when they answer later, and nobody is left with their answer', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    try {
      const slow = [
        standard(async () => ({ value: 1 })),
        standard(() => Promise.reject(new Error('late'))),
        z.string().refine(async () => true)
      ]
      for (const schema of slow) assert.equal(refusal(() => validated(schema, 'a', 'b')).code, 'KV_CONFIG')
      // Whoever has rejected is asked who handles it when the microtasks are done.
      await new Promise(resolve => setImmediate(resolve))
      assert.deepEqual(unhandled, [])
    } finally {
      process.off('unhandledRejection', note)
    }
  })

  it('are refused when they are no schemas', () => {
    for (const wrong of [undefined, null, {}, 'a', { '~standard': {} }, { '~standard': { validate: 1, version: 1 } }]) {
      assert.throws(() => assertSchema(wrong as never), { code: 'KV_CONFIG' })
    }
    const next = { '~standard': { ...standard(() => ({ value: 1 }))['~standard'], version: 2 } }
    assert.throws(() => assertSchema(next as never), { code: 'KV_CONFIG', message: /not 2/u })
  })
})
