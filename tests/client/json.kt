package org.json

class JSONObject(json: String) {
    fun getString(name: String): String = TODO()
}
