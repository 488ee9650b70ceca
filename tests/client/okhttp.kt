// What the Kotlin of docs/mobile.md uses of OkHttp 5 and of Android's org.json, as these declare it: npm has the compiler,
// but neither of them. Only the signatures are read; nothing here runs.
package okhttp3

import java.io.Closeable
import java.io.IOException

class MediaType private constructor() {
    companion object {
        fun String.toMediaType(): MediaType = TODO()
    }
}

abstract class RequestBody {
    companion object {
        fun ByteArray.toRequestBody(contentType: MediaType? = null, offset: Int = 0, byteCount: Int = size): RequestBody = TODO()
    }
}

class MultipartBody private constructor() : RequestBody() {
    class Builder(boundary: String = "") {
        fun setType(type: MediaType): Builder = TODO()
        fun addFormDataPart(name: String, value: String): Builder = TODO()
        fun addFormDataPart(name: String, filename: String?, body: RequestBody): Builder = TODO()
        fun build(): MultipartBody = TODO()
    }

    companion object {
        val FORM: MediaType = TODO()
    }
}

class Request private constructor() {
    class Builder {
        fun url(url: String): Builder = TODO()
        fun header(name: String, value: String): Builder = TODO()
        fun post(body: RequestBody): Builder = TODO()
        fun build(): Request = TODO()
    }
}

abstract class ResponseBody : Closeable {
    @Throws(IOException::class) fun string(): String = TODO()
}

class Response private constructor(val body: ResponseBody) : Closeable {
    val code: Int = TODO()
    val isSuccessful: Boolean = TODO()
    fun header(name: String, defaultValue: String? = null): String? = TODO()
    override fun close(): Unit = TODO()
}

interface Call {
    @Throws(IOException::class) fun execute(): Response
}

class OkHttpClient {
    fun newCall(request: Request): Call = TODO()
}
