# What tests/gpu/run asks the program's own code: gpu/README.md. Here it rehearses, and answers that a real driver gave are given again.
add_executable(gpu_look gpu/look.c)
target_link_libraries(gpu_look PRIVATE clients base)
# Python opens the stand-in of NVML itself, which no sanitizer lets it.
if(NOT PROVISION_SANITIZE)
  add_test(NAME gpu/run COMMAND ${PROVISION_PYTHON} -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/gpu/run_test.py)
  set_tests_properties(gpu/run PROPERTIES TIMEOUT 600 ENVIRONMENT
    "PROVISION=${CMAKE_INSTALL_PREFIX}/bin/provision;PROVISION_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
endif()
